//! Whole conversations: the brain on one side, the built-in tools on the other.

use std::{sync::Arc, time::Duration};

use domain::time::Timestamp;
use tools::{ToolContext, ToolRegistry};

use super::*;

/// 12:05 on Monday, 23 November 2026, in Tokyo.
const NOW: i64 = 1_795_403_100_000;

fn registry() -> ToolRegistry {
    tools::builtin::builtin(Arc::new(|| Timestamp::from_millis(NOW)))
}

fn context() -> ToolContext {
    ToolContext {
        user: "ann".parse().unwrap(),
        thread: None,
        job: "job_01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
        lane: "main".parse().unwrap(),
        turn: 1,
        call: "c1".parse().unwrap(),
        cancel: tokio_util::sync::CancellationToken::new(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(60),
    }
}

/// A request that offers every built-in tool.
fn request(messages: Value) -> Value {
    let tools: Vec<Value> =
        registry().list().map(|tool| json!({"type": "function", "function": tool.spec()})).collect();
    json!({"model": "demo", "messages": messages, "tools": tools, "stream": true})
}

fn ask(body: &Value) -> Reply {
    reply(&Conversation::read(body).unwrap())
}

/// Talks until there is an answer; returns the calls of each turn and the answer.
async fn talk(mut body: Value) -> (Vec<Vec<(String, String)>>, String) {
    let (registry, context) = (registry(), context());
    let allowed: Vec<String> = registry.list().map(|tool| tool.name().to_owned()).collect();
    let mut turns = Vec::new();
    loop {
        let reply = ask(&body);
        if reply.calls.is_empty() {
            return (turns, reply.text);
        }
        assert!(turns.len() < 10, "it does not come to an end: {turns:?}");
        let messages = body["messages"].as_array_mut().unwrap();
        let calls: Vec<Value> = reply
            .calls
            .iter()
            .map(|call| {
                let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
                json!({"id": call.id, "type": "function", "function": function})
            })
            .collect();
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
        for call in &reply.calls {
            let execution = registry.execute(&call.name, &call.arguments.to_string(), &context, &allowed).await;
            let content = execution.outcome.for_model();
            messages.push(json!({"role": "tool", "tool_call_id": call.id, "content": content}));
        }
        let told = |call: &Asked| {
            let first = call.arguments.as_object().unwrap().values().next().unwrap();
            (call.name.clone(), first.as_str().unwrap().to_owned())
        };
        turns.push(reply.calls.iter().map(told).collect());
    }
}

async fn question(text: &str) -> (Vec<Vec<(String, String)>>, String) {
    talk(request(json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]))).await
}

fn time(zone: &str) -> (String, String) {
    (TIME.to_owned(), zone.to_owned())
}

fn sum(expression: &str) -> (String, String) {
    (CALCULATE.to_owned(), expression.to_owned())
}

#[tokio::test]
async fn the_time_is_asked_of_the_tool_and_told_readably() {
    let (turns, text) = question("What time is it in Tokyo?").await;
    assert_eq!(turns, [[time("Asia/Tokyo")]]);
    assert_eq!(text, "In Tokyo it is **12:05 on Monday, 23 November 2026** (UTC+9).");
    let (turns, text) = question("What time is it?").await;
    assert_eq!(turns, [[time("UTC")]]);
    assert_eq!(text, "It is **03:05 on Monday, 23 November 2026** (UTC).");
}

#[tokio::test]
async fn several_places_and_a_sum_are_asked_for_in_one_turn() {
    let (turns, text) = question("What time is it in Tokyo and New York, and what is 17% of 2,340?").await;
    assert_eq!(turns, [vec![time("Asia/Tokyo"), time("America/New_York"), sum("17% of 2340")]]);
    assert_eq!(
        text,
        "Here is what I found:\n\n\
         - In Tokyo it is **12:05 on Monday, 23 November 2026** (UTC+9).\n\
         - In New York it is **22:05 on Sunday, 22 November 2026** (UTC−5).\n\
         - 17% of 2,340 is **397.8**."
    );
}

#[tokio::test]
async fn sums_are_answered_with_the_tools_result() {
    for (text, expression, answer) in [
        ("12 * (3 + 4)", "12 * (3 + 4)", "12 × (3 + 4) is **84**."),
        ("What is the square root of 2?", "sqrt(2)", "√(2) is about **1.4142135623731**."),
        ("2^10", "2^10", "2^10 is **1,024**."),
        ("5 plus 7", "5 + 7", "5 + 7 is **12**."),
        ("15% off 80", "80 - (15% of 80)", "80 − (15% of 80) is **68**."),
        ("What is 5 feet in meters?", "5 ft to m", "5 ft is **1.524 m**."),
        ("-3 + 5!", "-3 + 5!", "−3 + 5! is **117**."),
        ("What is 17 mod 5?", "17 mod 5", "17 mod 5 is **2**."),
        ("how many minutes are in 3 days", "3 days to minutes", "3 days is **4,320 minutes**."),
    ] {
        let (turns, told) = question(text).await;
        assert_eq!(turns, [[sum(expression)]], "{text}");
        assert_eq!(told, answer, "{text}");
    }
}

#[tokio::test]
async fn a_question_that_depends_on_a_result_takes_another_turn() {
    let (turns, text) = question("What time is it in Tokyo, and how many minutes until midnight there?").await;
    assert_eq!(turns, [[time("Asia/Tokyo")], [sum("24*60 - (12*60 + 5)")]]);
    assert!(text.ends_with("That leaves **715 minutes** until midnight in Tokyo (11 hours 55 minutes)."), "{text}");

    let (turns, text) = question("Calculate 12 * 7, then multiply the result by 3.").await;
    assert_eq!(turns, [[sum("12 * 7")], [sum("84 * 3")]]);
    assert_eq!(text, "12 × 7 is **84**.\nThe result × 3 is **252**.");

    let (turns, text) = question("How many hours is Tokyo ahead of New York?").await;
    assert_eq!(turns, [vec![time("Asia/Tokyo"), time("America/New_York")], vec![sum("9 - (-5)")]]);
    assert!(text.ends_with("- Tokyo is **14 hours** ahead of New York."), "{text}");
}

#[tokio::test]
async fn a_tools_error_is_told_and_what_hangs_on_it_is_given_up() {
    let (turns, text) = question("What time is it in Mars/Olympus, and how many minutes until midnight there?").await;
    assert_eq!(turns, [[time("Mars/Olympus")]]);
    assert!(
        text.starts_with("I could not find out the time in Mars/Olympus: the tool answered “There is no"),
        "{text}"
    );
    assert!(text.ends_with("So I could not work out how long it is until midnight either."), "{text}");
    let (_, text) = question("What is 1 / 0?").await;
    assert!(text.contains("could not find out 1 ÷ 0"), "{text}");
}

#[tokio::test]
async fn the_last_message_is_answered_and_an_earlier_result_can_be_used() {
    let earlier = json!([
        {"role": "user", "content": "What is 6 * 7?"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "calculate", "arguments": "{\"expression\":\"6 * 7\"}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "{\"expression\":\"6 * 7\",\"result\":\"42\",\"exact\":true}"},
        {"role": "assistant", "content": "42."},
        {"role": "user", "content": [{"type": "text", "text": "Now divide that by 4."}]},
    ]);
    let (turns, text) = talk(request(earlier)).await;
    assert_eq!(turns, [[sum("42 / 4")]]);
    assert_eq!(text, "The result ÷ 4 is **10.5**.");
}

#[tokio::test]
async fn without_parallel_calls_they_come_one_by_one() {
    let mut body = request(json!([{"role": "user", "content": "What time is it in Tokyo and in Paris?"}]));
    body["parallel_tool_calls"] = json!(false);
    assert_eq!(talk(body).await.0, [[time("Asia/Tokyo")], [time("Europe/Paris")]]);
}

#[test]
fn without_its_tools_it_says_what_it_would_need() {
    let body = json!({"messages": [{"role": "user", "content": "What time is it in Tokyo and what is 2+2?"}]});
    let reply = ask(&body);
    assert!(reply.calls.is_empty());
    assert!(reply.text.contains("the time in Tokyo I would need the tool `get_current_time`"), "{}", reply.text);
    assert!(reply.text.contains("2 + 2 I would need the tool `calculate`"), "{}", reply.text);
    let mut body = request(json!([{"role": "user", "content": "What time is it?"}]));
    body["tool_choice"] = json!("none");
    assert!(ask(&body).calls.is_empty());
}

#[tokio::test]
async fn a_required_or_named_tool_is_called_once_whatever_the_question() {
    let mut body = request(json!([{"role": "user", "content": "Hello!"}]));
    body["tool_choice"] = json!("required");
    let (turns, text) = talk(body.clone()).await;
    assert_eq!(turns, [[time("UTC")]]);
    assert_eq!(text, "It is **03:05 on Monday, 23 November 2026** (UTC).");
    body["tool_choice"] = json!({"type": "function", "function": {"name": "calculate"}});
    assert_eq!(talk(body).await.0, [[sum("1 + 1")]]);
}

#[test]
fn a_tool_of_the_callers_own_is_called_when_it_is_named() {
    let schema = json!({"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]});
    let body = json!({
        "messages": [{"role": "user", "content": "Please look up \"tide tables\" for me"}],
        "tools": [{"type": "function", "function": {"name": "look_up", "parameters": schema}}],
    });
    let calls = ask(&body).calls;
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].name.as_str(), &calls[0].arguments), ("look_up", &json!({"query": "tide tables"})));
}

#[tokio::test]
async fn an_answer_can_be_json_that_fits_a_schema() {
    let mut body = request(json!([{"role": "user", "content": "What is 6 * 7?"}]));
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "r", "schema": {
        "type": "object", "required": ["answer", "value"],
        "properties": {"answer": {"type": "string"}, "value": {"type": "integer"}}}}});
    let (_, text) = talk(body.clone()).await;
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"answer": "6 × 7 is 42.", "value": 42}));
    body["response_format"] = json!({"type": "json_object"});
    let (_, text) = talk(body).await;
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"answer": "6 × 7 is 42."}));
}

#[test]
fn the_same_conversation_gets_the_same_answer_and_another_one_other_ids() {
    let body = |text: &str| request(json!([{"role": "user", "content": text}]));
    let (one, other) = (body("2 + 2"), body("Please: 2 + 2"));
    assert_eq!(ask(&one), ask(&one));
    assert_ne!(ask(&one).calls[0].id, ask(&other).calls[0].id);
}
