//! Long conversations, kept short: in chats, in jobs that go on from others, in workflows; and what becomes of a summary
//! that fails.

use domain::usage::Usage;
use local::demo_model::{Call, Fault, Script, Turn};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    System,
    documents::{agent, chain},
    types,
};

const MODEL: &str = "test/long";
const SUMMARY: &str = "They greeted each other nine times.";
const TOO_LONG: &str = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.";

/// A conversation of eleven messages behind its standing orders.
fn long() -> Value {
    let said = (0..11).map(|n| match n % 2 {
        0 => json!({"role": "user", "content": format!("Question {n}, which is of some length.")}),
        _ => json!({"role": "assistant", "content": format!("Answer {n}, which is of some length, too.")}),
    });
    json!([json!({"role": "system", "content": "Be brief."})].into_iter().chain(said).collect::<Vec<_>>())
}

fn used(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

/// Starts a job on the long conversation, with this `compaction`.
async fn start(system: &System, script: Script, compaction: Value, extra: Value) -> Value {
    system.model.script_model(MODEL, script);
    let mut body = json!({"input": long(), "model": MODEL, "tools": tests::tools::NAMES, "compaction": compaction});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    system.submit(body).await
}

/// What the model was told in its n-th request.
fn told(system: &System, n: usize) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let requests = system.model.requests();
    requests[n].messages().iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
}

async fn compactions(system: &System, job: &Value) -> Vec<Value> {
    system.log(job).await.into_iter().filter(|event| event["type"] == "context.compacted").collect()
}

#[tokio::test]
async fn a_long_chat_goes_on_with_a_summary_of_all_but_its_last_messages() {
    let system = System::start().await;
    let script = Script::new()
        .turn(Turn::text(SUMMARY).usage(used(300, 20)))
        .turn(Turn::text("Good day.").then_calls([Call::new("add", r#"{"a": 1, "b": 1}"#)]).usage(used(90, 5)))
        .turn(Turn::text("It is 2.").usage(used(100, 4)));
    let job = start(&system, script, json!({"threshold": 140}), json!({})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["output"], "Good day.\n\nIt is 2.", "{job}");

    // The summary is asked for apart: no tools, and the conversation as a text.
    let asked = system.model.requests();
    assert_eq!(asked.len(), 3, "the next turn uses the summary that is there");
    assert!(asked[0].body["tools"].is_null());
    let question = told(&system, 0);
    assert_eq!(question.iter().map(|(role, _)| role.as_str()).collect::<Vec<_>>(), ["system", "user"]);
    assert!(
        question[1].1.starts_with("[person]\nQuestion 0, which is of some length.\n\n[assistant]\n"),
        "{question:?}"
    );
    assert!(question[1].1.ends_with("Answer 5, which is of some length, too."), "{question:?}");

    let answered = told(&system, 1);
    assert_eq!(answered.len(), 1 + 1 + 5, "{answered:?}");
    assert_eq!(answered[0].1, "Be brief.");
    assert_eq!(answered[1], ("user".to_owned(), format!("[A summary of the 6 messages before]\n{SUMMARY}")));
    assert_eq!(answered[2].1, "Question 6, which is of some length.");
    assert_eq!(told(&system, 2)[..7], answered, "and it only grows");

    let [told] = compactions(&system, &job).await.try_into().unwrap();
    assert_eq!((told["messages"].as_u64(), told["strategy"].as_str()), (Some(6), Some("summarize")), "{told}");
    assert!(
        told["tokens_before"].as_u64() > Some(140) && told["tokens_after"].as_u64() < told["tokens_before"].as_u64()
    );
    assert_eq!((told["lane"].as_str(), told["turn"].as_u64()), (Some("main"), Some(1)));
    assert!(told["error"].is_null());
    assert_eq!(job["usage"]["input_tokens"], 300 + 90 + 100, "the summary is paid for");
    assert_eq!((job["usage"]["output_tokens"].as_u64(), job["metrics"]["total_turns"].as_u64()), (Some(29), Some(2)));
}

#[tokio::test]
async fn a_job_that_asks_for_no_compaction_has_none() {
    let system = System::start().await;
    system.model.script_model(MODEL, Script::new().turn(Turn::text("Good day.").fault(Fault::Status(400, TOO_LONG))));
    let job = system.submit(json!({"input": long(), "model": MODEL})).await;
    let job = system.finished(&job).await;
    assert_eq!(
        (job["status"].as_str(), job["error"]["code"].as_str()),
        (Some("failed"), Some("model_context_too_long"))
    );
    assert_eq!(system.model.requests().len(), 1);
}

#[tokio::test]
async fn truncating_asks_no_model_and_says_what_is_left_out() {
    let system = System::start().await;
    let script = Script::new().turn(Turn::text("Good day."));
    let compaction = json!({"threshold": 140, "preserve_recent": 2, "strategy": "truncate"});
    let job = start(&system, script, compaction, json!({})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["output"].as_str(), system.model.requests().len()), (Some("Good day."), 1));
    let read: Vec<String> = told(&system, 0).into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        read,
        [
            "Be brief.",
            "[The 9 messages before are left out]",
            "Answer 9, which is of some length, too.",
            "Question 10, which is of some length."
        ]
    );
    let [told] = compactions(&system, &job).await.try_into().unwrap();
    assert_eq!((told["messages"].as_u64(), told["strategy"].as_str()), (Some(9), Some("truncate")));
}

#[tokio::test]
async fn a_summary_that_is_refused_is_done_without() {
    let system = System::start().await;
    let script =
        Script::new().turn(Turn::text("never").fault(Fault::Status(400, "I will not"))).turn(Turn::text("Good day."));
    let job = start(&system, script, json!({"threshold": 140}), json!({})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("Good day.")), "{job}");
    assert_eq!(told(&system, 1)[1].1, "[The 6 messages before are left out]");
    let [told] = compactions(&system, &job).await.try_into().unwrap();
    assert_eq!(told["strategy"], "truncate");
    assert!(told["error"].as_str().unwrap().starts_with("no summary was made: "), "{told}");
}

#[tokio::test]
async fn a_summary_that_fails_for_a_moment_is_asked_for_once_more() {
    let system = System::start().await;
    let busy = || Fault::Status(500, "busy");
    let script = Script::new().turn(Turn::text(SUMMARY).fault(busy())).turn(Turn::text("Good day."));
    let job = start(&system, script, json!({"threshold": 140}), json!({})).await;
    let job = system.finished(&job).await;
    let [compacted] = compactions(&system, &job).await.try_into().unwrap();
    assert_eq!((compacted["strategy"].as_str(), compacted["error"].as_str()), (Some("summarize"), None));
    assert_eq!(types(&system.log(&job).await)[2..5], ["turn.restarted", "context.compacted", "turn.started"]);

    let system = System::start().await;
    let script = Script::new().turn(Turn::text(SUMMARY).fault(busy()).fault(busy())).turn(Turn::text("Good day."));
    let job = start(&system, script, json!({"threshold": 140}), json!({})).await;
    let job = system.finished(&job).await;
    assert_eq!(job["output"], "Good day.", "{job}");
    let [compacted] = compactions(&system, &job).await.try_into().unwrap();
    assert_eq!(compacted["strategy"], "truncate");
}

#[tokio::test]
async fn a_conversation_that_the_provider_finds_too_long_is_made_shorter() {
    let system = System::start().await;
    let script = Script::new()
        .turn(Turn::text("never").fault(Fault::Status(400, TOO_LONG)))
        .turn(Turn::text(SUMMARY))
        .turn(Turn::text("never").fault(Fault::Status(400, TOO_LONG)))
        .turn(Turn::text("They said hello."))
        .turn(Turn::text("Good day."));
    let job = start(&system, script, json!({}), json!({})).await;
    let job = system.finished(&job).await;
    assert_eq!((job["status"].as_str(), job["output"].as_str()), (Some("completed"), Some("Good day.")), "{job}");
    let compacted: Vec<u64> =
        compactions(&system, &job).await.iter().filter_map(|told| told["messages"].as_u64()).collect();
    assert_eq!(*compacted.last().unwrap(), 4, "the second time fewer of the last messages stay: {compacted:?}");
    let answered = told(&system, 4);
    assert_eq!(answered.len(), 1 + 1 + 2, "{answered:?}");
    assert_eq!(answered[1].1, "[A summary of the 9 messages before]\nThey said hello.");
    assert_eq!(job["metrics"]["total_turns"], 1);
}

#[tokio::test]
async fn what_cannot_be_made_shorter_fails_as_too_long() {
    let system = System::start().await;
    let too_long = || Turn::text("never").fault(Fault::Status(400, TOO_LONG));
    system.model.script_model(MODEL, Script::new().turn(too_long()));
    let body = json!({"input": "One question.", "model": MODEL, "compaction": {"strategy": "truncate"}});
    let job = system.submit(body).await;
    let job = system.finished(&job).await;
    assert_eq!(job["error"]["code"], "model_context_too_long", "{job}");
}

#[tokio::test]
async fn a_budget_counts_the_summary_and_stops_before_the_answer() {
    let system = System::start().await;
    let script =
        Script::new().turn(Turn::text(SUMMARY).usage(used(300, 20))).turn(Turn::text("Good day.").usage(used(1, 1)));
    let job = start(&system, script, json!({"threshold": 140}), json!({"limits": {"max_total_tokens": 310}})).await;
    let waits = system.waiting(&job).await;
    assert_eq!(system.model.requests().len(), 1);
    let request = &waits["input_requests"][0];
    assert!(request["prompt"].as_str().unwrap().contains("used 320 of its 310 tokens"), "{request}");
    let path = format!("/jobs/{}/input_requests/{}", job["id"].as_str().unwrap(), request["id"].as_str().unwrap());
    let raise = json!({"action": "submit", "data": {"max_total_tokens": 1000}});
    assert_eq!(system.answer(system.request(Method::POST, &path).json(&raise)).await.0, 200);
    let job = system.finished(&job).await;
    assert_eq!((job["output"].as_str(), job["usage"]["input_tokens"].as_u64()), (Some("Good day."), Some(301)));
    assert_eq!(system.model.requests().len(), 2, "the summary is not made again");
}

#[tokio::test]
async fn a_job_goes_on_from_the_short_form_of_an_earlier_one() {
    let system = System::start().await;
    let script = Script::new().turn(Turn::text(SUMMARY)).turn(Turn::text("Good day.")).turn(Turn::text("Good night."));
    let first = start(&system, script, json!({"threshold": 140, "preserve_recent": 1}), json!({})).await;
    let first = system.finished(&first).await;
    let next = json!({"input": "And now?", "model": MODEL, "previous_job_id": first["id"]});
    let next = system.submit(next).await;
    let next = system.finished(&next).await;
    assert_eq!(next["output"], "Good night.", "{next}");
    let read: Vec<String> = told(&system, 2).into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        read,
        [
            "Be brief.",
            "[A summary of the 10 messages before]\nThey greeted each other nine times.",
            "Question 10, which is of some length.",
            "Good day.",
            "And now?"
        ]
    );
}

#[tokio::test]
async fn an_agent_in_a_workflow_keeps_its_conversation_short() {
    let system = System::start().await;
    let calls = |n: u32| {
        Turn::text(format!("Step {n} of many, in some more words."))
            .then_calls([Call::new("add", json!({"a": n, "b": 1}).to_string())])
            .usage(used(50 * u64::from(n), 5))
    };
    let script = Script::new()
        .turn(calls(1))
        .turn(calls(2))
        .turn(Turn::text("Two sums were made.").usage(used(80, 5)))
        .turn(Turn::text("All done.").usage(used(60, 5)));
    system.model.script_model("test/agent", script);
    let workflow = chain(&[agent("agent", json!({"prompt": "Add up.", "tools": ["add"]}))]);
    let compaction = json!({"threshold": 120, "preserve_recent": 2});
    let job = json!({"input": "Sum it all up", "workflow": workflow, "tools": ["add"], "compaction": compaction});
    let job = system.submit(job).await;
    let job = system.finished(&job).await;
    assert_eq!(job["output"], "All done.", "{job}");
    let [compacted] = compactions(&system, &job).await.try_into().unwrap();
    assert_eq!((compacted["node_id"].as_str(), compacted["turn"].as_u64()), (Some("agent"), Some(3)), "{compacted}");
    let read = told(&system, 3);
    let roles: Vec<&str> = read.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert!(read[1].1.contains("Two sums were made.") && read[1].1.ends_with("Sum it all up"), "{read:?}");
    assert_eq!(job["usage"]["input_tokens"], 50 + 100 + 80 + 60);
}

#[tokio::test]
async fn a_summarys_key_is_the_callers_own() {
    let system = System::start().await;
    let script = Script::new().turn(Turn::text(SUMMARY)).turn(Turn::text("Good day."));
    let job = start(&system, script, json!({"threshold": 140}), json!({"model_api_key": "sk-mine"})).await;
    system.finished(&job).await;
    let keys: Vec<Option<String>> =
        system.model.requests().iter().map(|request| request.api_key().map(str::to_owned)).collect();
    assert_eq!(keys, [Some("sk-mine".to_owned()), Some("sk-mine".to_owned())]);
}
