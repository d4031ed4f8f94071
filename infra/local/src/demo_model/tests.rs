//! The server against the client that jobs use.

use std::time::Duration;

use domain::{message::Message, tool_call::ToolSpec, usage::Usage};
use futures_util::StreamExt as _;
use model_client::{
    Completion, Config, FinishReason, ModelClient, ModelError, ModelEvent, ModelRequest, ModelStream, Secret,
};

use super::*;

fn client(model: &DemoModel) -> ModelClient {
    ModelClient::new(Config::new(model.url().clone(), Some(Secret::new("sk-demo")))).unwrap()
}

fn request(text: &str) -> ModelRequest {
    ModelRequest { model: "demo".into(), messages: vec![Message::user(text)], ..ModelRequest::default() }
}

async fn scripted(script: Script) -> DemoModel {
    let model = DemoModel::start(Options::scripted()).await.unwrap();
    model.script("Go", script);
    model
}

async fn read(mut stream: ModelStream) -> (String, Result<Completion, ModelError>) {
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(ModelEvent::TextDelta(delta)) => text.push_str(&delta),
            Ok(ModelEvent::ReasoningDelta(_) | ModelEvent::ToolCallSeen { .. }) => {}
            Ok(ModelEvent::Completed(completion)) => return (text, Ok(completion)),
            Err(error) => return (text, Err(error)),
        }
    }
    panic!("the stream ended without a completion");
}

async fn answer(model: &DemoModel, text: &str) -> (String, Result<Completion, ModelError>) {
    match client(model).stream(&request(text), None).await {
        Ok(stream) => read(stream).await,
        Err(error) => (String::new(), Err(error)),
    }
}

#[tokio::test]
async fn a_scripted_text_is_streamed_and_the_request_recorded() {
    let usage = Usage { input_tokens: 7, output_tokens: 3, cost_usd: 0.25, ..Usage::default() };
    let model = scripted(Script::new().turn(Turn::pieces(["Hel", "lo ", "wörld"]).usage(usage))).await;
    let (text, completion) = answer(&model, "Go on").await;
    let completion = completion.unwrap();
    assert_eq!((text.as_str(), completion.usage, completion.finish), ("Hello wörld", usage, FinishReason::Stop));
    let requests = model.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].api_key(), requests[0].first_user.as_str()), (Some("sk-demo"), "Go on"));
    assert_eq!(requests[0].messages(), [json!({"role": "user", "content": "Go on"})]);
    model.wait_for_open_streams(0).await;
}

#[tokio::test]
async fn scripted_calls_come_with_or_without_ids_and_in_fragments() {
    let model = scripted(Script::new().turn(Turn::calls([
        Call::new("get_current_time", r#"{"timezone":"Asia/Tokyo"}"#).fragments(5),
        Call::new("calculate", r#"{"expression":"1 + 1"}"#).id("mine"),
        Call::new("calculate", "not JSON").without_id(),
    ])))
    .await;
    let completion = answer(&model, "Go").await.1.unwrap();
    let calls: Vec<_> = completion
        .tool_calls
        .iter()
        .map(|call| (call.id.as_ref().map(domain::id::ToolCallId::as_str), call.name.as_str(), call.arguments.as_str()))
        .collect();
    assert_eq!(
        calls,
        [
            (Some("call_0_get_current_time"), "get_current_time", r#"{"timezone":"Asia/Tokyo"}"#),
            (Some("mine"), "calculate", r#"{"expression":"1 + 1"}"#),
            (None, "calculate", "not JSON"),
        ]
    );
    assert_eq!(completion.finish, FinishReason::ToolCalls);
}

#[tokio::test]
async fn an_answer_survives_being_split_anywhere() {
    for size in [1, 2, 3, 7, 64] {
        let turn = Turn::pieces(["Gr", "üß", "e 💡"]).then_calls([Call::new("look", "{}")]).split(size);
        let model = scripted(Script::new().turn(turn)).await;
        let (text, completion) = answer(&model, "Go").await;
        assert_eq!((text.as_str(), completion.unwrap().tool_calls.len()), ("Grüße 💡", 1), "{size}");
    }
}

#[tokio::test]
async fn raw_bytes_are_sent_as_they_are() {
    let raw =
        ": PROCESSING\r\n\r\ndata:{\"choices\":[{\"delta\":{\"content\":\"é\"},\"finish_reason\":\"stop\"}]}\r\n\r\n";
    let model = scripted(Script::new().turn(Turn::raw(raw).split(1))).await;
    let (text, completion) = answer(&model, "Go").await;
    assert_eq!((text.as_str(), completion.unwrap().finish), ("é", FinishReason::Stop));
}

#[tokio::test]
async fn a_cut_answer_is_interrupted_after_its_pieces_and_the_retry_is_good() {
    let script = Script::new().turn(Turn::pieces(["a", "b", "c"]).fault(Fault::CutAfter(1)).fault(Fault::CutAfter(3)));
    let model = scripted(script).await;
    for expected in ["a", "abc"] {
        let (text, error) = answer(&model, "Go").await;
        assert_eq!(text, expected);
        assert!(matches!(error, Err(ModelError::Interrupted { .. })), "{error:?}");
    }
    let (text, completion) = answer(&model, "Go").await;
    assert_eq!((text.as_str(), completion.is_ok()), ("abc", true));
}

#[tokio::test]
async fn a_status_comes_with_its_message_and_retry_after() {
    let turn = Turn::text("Hello")
        .fault(Fault::StatusRetryAfter(429, "slow down", "7"))
        .fault(Fault::Status(500, "broken"))
        .fault(Fault::Status(502, "<html>Bad Gateway</html>"));
    let model = scripted(Script::new().turn(turn)).await;
    let error = answer(&model, "Go").await.1.unwrap_err();
    assert_eq!((error.code(), error.retry_after()), ("model_rate_limited", Some(Duration::from_secs(7))));
    let error = answer(&model, "Go").await.1.unwrap_err();
    assert!(matches!(&error, ModelError::Overloaded { status: 500, message, .. } if message == "broken"), "{error:?}");
    let error = answer(&model, "Go").await.1.unwrap_err();
    assert!(matches!(&error, ModelError::Overloaded { status: 502, .. }), "{error:?}");
    assert_eq!(answer(&model, "Go").await.0, "Hello");
}

#[tokio::test]
async fn an_error_inside_the_stream_comes_after_its_pieces() {
    let turn = Turn::pieces(["a", "b"]).fault(Fault::ErrorAfter(1, "server_error", "gone"));
    let model = scripted(Script::new().turn(turn)).await;
    let (text, error) = answer(&model, "Go").await;
    assert_eq!((text.as_str(), error.unwrap_err().code()), ("a", "model_overloaded"));
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_wherever_the_answer_hangs() {
    let gate = Gate::new();
    let turn = Turn::pieces(["a", "b"])
        .fault(Fault::HangAfter(1))
        .fault(Fault::StallAfter(1, gate.clone()))
        .fault(Fault::HangBeforeHeaders);
    let model = scripted(Script::new().turn(turn)).await;
    for _ in 0..2 {
        let mut stream = client(&model).stream(&request("Go"), None).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), ModelEvent::TextDelta("a".into()));
        assert_eq!(model.open_streams(), 1);
        drop(stream);
        model.wait_for_open_streams(0).await;
    }
    let waiting = tokio::spawn({
        let client = client(&model);
        async move { client.stream(&request("Go"), None).await.map(|_| ()) }
    });
    model.wait_for_requests(3).await;
    model.wait_for_open_streams(1).await;
    waiting.abort();
    model.wait_for_open_streams(0).await;
}

#[tokio::test]
async fn a_stalled_answer_goes_on_when_the_gate_opens() {
    let (before, within) = (Gate::new(), Gate::new());
    let turn = Turn::pieces(["a", "b"])
        .fault(Fault::StallAfter(1, within.clone()))
        .fault(Fault::StallBeforeHeaders(before.clone()));
    let model = scripted(Script::new().turn(turn)).await;
    for gate in [within, before] {
        let (answer, ()) = tokio::join!(answer(&model, "Go"), async {
            gate.reached().await;
            assert_eq!(model.open_streams(), 1);
            gate.open();
        });
        assert_eq!((answer.0.as_str(), answer.1.is_ok()), ("ab", true));
    }
}

#[tokio::test]
async fn the_turn_is_chosen_by_the_answers_since_the_first_message() {
    let script = Script::new()
        .turn(Turn::calls([Call::new("look", "{}").id("c1")]))
        .turn(Turn::text("It is noon.").fault(Fault::Status(503, "busy")));
    let model = scripted(script).await;
    model.script("Go elsewhere", Script::new().turn(Turn::text("Elsewhere.")));
    assert_eq!(answer(&model, "Go").await.1.unwrap().tool_calls.len(), 1);
    let next = ModelRequest {
        messages: serde_json::from_value(json!([
            {"role": "user", "content": "Go"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        ]))
        .unwrap(),
        ..request("")
    };
    assert_eq!(client(&model).stream(&next, None).await.unwrap_err().code(), "model_overloaded");
    assert_eq!(read(client(&model).stream(&next, None).await.unwrap()).await.0, "It is noon.");
    assert_eq!(model.requests().iter().map(|request| request.turn).collect::<Vec<_>>(), [0, 1, 1]);
    assert_eq!(answer(&model, "Go elsewhere").await.0, "Elsewhere.");
}

#[tokio::test]
async fn a_conversation_without_a_script_is_refused_and_counted() {
    let model = scripted(Script::new()).await;
    for text in ["Hello", "Go"] {
        assert_eq!(answer(&model, text).await.1.unwrap_err().code(), "model_overloaded");
    }
    assert_eq!(model.unscripted(), 2);
}

#[tokio::test]
async fn the_brain_answers_where_there_is_no_script() {
    let model = DemoModel::start(Options::instant()).await.unwrap();
    let spec = ToolSpec {
        name: "calculate".into(),
        description: String::new(),
        parameters: json!({"type": "object", "properties": {"expression": {"type": "string"}}}),
    };
    let request = ModelRequest { tools: vec![spec], ..request("What is 2^10?") };
    let completion = read(client(&model).stream(&request, None).await.unwrap()).await.1.unwrap();
    assert_eq!(completion.tool_calls[0].arguments, r#"{"expression":"2^10"}"#);
    assert!(completion.usage.input_tokens > 0 && completion.usage.output_tokens > 0);
    let (text, completion) = answer(&model, "Tell me a long story about owls").await;
    assert!(text.len() > 2_000 && text.contains("owls"), "{text}");
    assert_eq!(completion.unwrap().finish, FinishReason::Stop);
}

#[tokio::test]
async fn a_bad_request_is_told_what_is_wrong_with_it() {
    let model = DemoModel::start(Options::instant()).await.unwrap();
    let empty = ModelRequest { model: "demo".into(), ..ModelRequest::default() };
    let error = client(&model).stream(&empty, None).await.unwrap_err();
    assert!(
        matches!(&error, ModelError::Rejected { status: 400, message } if message == "`messages` must not be empty"),
        "{error:?}"
    );
}

#[tokio::test]
async fn dropping_the_model_ends_what_it_was_saying() {
    let model = scripted(Script::new().turn(Turn::pieces(["a", "b"]).fault(Fault::HangAfter(1)))).await;
    let client = client(&model);
    let mut stream = client.stream(&request("Go"), None).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let server = Arc::downgrade(&model.server);
    drop(model);
    assert!(matches!(stream.next().await, Some(Err(ModelError::Interrupted { .. }))));
    assert!(matches!(client.stream(&request("Go"), None).await, Err(ModelError::Transport(_))));
    assert_eq!(server.strong_count(), 0);
}
