//! The commands from their arguments to their exit codes, against a server.

use std::{future, process::ExitCode};

use http::StatusCode;
use url::Url;

use super::{
    streaming::{Answer, BEGIN, DONE, Server, frame, held, pieces, refused, status},
    *,
};
use crate::{
    cli::{AnswerArgs, Caller, CancelArgs, FollowArgs, JobsArgs, RetryArgs, RunArgs, SayArgs, ShowArgs, ToolsArgs},
    terminal::{Watch, answer, cancel, client::Client, follow, jobs, retry, run, say, show, tools},
};

/// A plain terminal and what is written to it.
fn terminal() -> (Terminal, Written, Written) {
    let (out, err) = (Written::default(), Written::default());
    (Terminal::new(out.clone(), err.clone(), Look::Plain), out, err)
}

fn ok(body: impl Into<Value>) -> Answer {
    status(StatusCode::OK, &body.into())
}

fn accepted() -> Answer {
    status(StatusCode::ACCEPTED, &queued_job())
}

fn stream_of(events: &[Value]) -> Answer {
    let frames: String = events.iter().enumerate().map(|(at, event)| frame(at + 1, event)).collect();
    pieces([format!("{BEGIN}{frames}{DONE}")])
}

fn doing(text: &str) -> RunArgs {
    RunArgs { text: Some(text.to_owned()), ..RunArgs::default() }
}

fn code(code: u8) -> ExitCode {
    ExitCode::from(code)
}

#[tokio::test]
async fn a_run_starts_a_job_with_every_tool_and_ends_as_the_job_does() {
    for (end, expected) in [("completed", 0), ("failed", 1), ("cancelled", 130)] {
        let listed = json!({"data": [{"name": "calculate"}, {"name": "get_current_time"}]});
        let ended = event(&format!("job.{end}"), json!({"status": end}));
        let (server, base) = Server::with([ok(listed), accepted(), stream_of(&[ended])]).await;
        let (mut out, written, err) = terminal();
        let args = RunArgs { model: Some("m".to_owned()), instructions: Some("Be brief.".to_owned()), ..doing("Hi") };
        assert_eq!(run(&base, &args, &mut out).await.unwrap(), code(expected), "{}", err.text());
        assert_eq!(
            server.asked(),
            [
                "GET /tools".to_owned(),
                r#"POST /jobs {"input":"Hi","instructions":"Be brief.","model":"m","tools":["calculate","get_current_time"]}"#
                    .to_owned(),
                format!("GET /jobs/{ID}/stream?token=first"),
            ]
        );
        assert!(written.text().contains(end), "{}", written.text());
        assert_eq!(err.text(), "");
    }
}

#[tokio::test]
async fn named_tools_are_the_only_ones_and_the_user_is_named_too() {
    let (server, base) = Server::with([accepted(), stream_of(&[completed()])]).await;
    let caller = Caller { user: Some("ada".to_owned()) };
    let args = RunArgs { tools: vec!["calculate".to_owned()], caller, ..doing("Hi") };
    assert_eq!(run(&base, &args, &mut terminal().0).await.unwrap(), code(0));
    assert_eq!(server.asked()[0], r#"POST /jobs x-nightshift-user=ada {"input":"Hi","tools":["calculate"]}"#);
}

#[tokio::test]
async fn a_workflow_is_read_from_its_file_and_names_its_own_tools() {
    let file = std::env::temp_dir().join(format!("nightshift-flow-{}.json", std::process::id()));
    std::fs::write(&file, r#"{"name": "flow"}"#).unwrap();
    let (server, base) = Server::with([accepted(), stream_of(&[completed()])]).await;
    let args = RunArgs { workflow: Some(file.clone()), ..RunArgs::default() };
    let ended = run(&base, &args, &mut terminal().0).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ended, code(0));
    assert_eq!(server.asked()[0], r#"POST /jobs {"workflow":{"name":"flow"}}"#);

    let (mut out, _, err) = terminal();
    assert_eq!(run(&base, &args, &mut out).await.unwrap(), code(2));
    assert!(err.text().starts_with(&format!("error: {} cannot be read: ", file.display())), "{}", err.text());
}

#[tokio::test]
async fn json_prints_each_event_as_one_line() {
    let events = whole_job();
    let (_server, base) = Server::with([accepted(), stream_of(&events)]).await;
    let (mut out, written, _) = terminal();
    let args = RunArgs { json: true, no_tools: true, ..doing("Hi") };
    assert_eq!(run(&base, &args, &mut out).await.unwrap(), code(0));
    let lines: Vec<Value> = written.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, events);
}

#[tokio::test]
async fn what_the_api_refuses_is_one_line_with_every_finding() {
    let error = json!({
        "type": "invalid_request_error", "code": "invalid_request", "message": "The request is not valid.",
        "details": [{"param": "model", "message": "is required"}, "limits.max_turns must be at least 1"],
    });
    let (_server, base) = Server::with([refused(StatusCode::BAD_REQUEST, &error)]).await;
    let (mut out, written, err) = terminal();
    let args = RunArgs { no_tools: true, ..doing("Hi") };
    assert_eq!(run(&base, &args, &mut out).await.unwrap(), code(1));
    assert_eq!(written.text(), "");
    assert_eq!(
        err.text(),
        "error: The request is not valid: model: is required; limits.max_turns must be at least 1\n"
    );
}

#[tokio::test]
async fn a_system_that_does_not_run_is_said_to_be_started_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let (mut out, _, err) = terminal();
    assert_eq!(jobs(&base, &JobsArgs { limit: 20, ..JobsArgs::default() }, &mut out).await.unwrap(), code(2));
    assert_eq!(
        err.text(),
        format!(
            "error: cannot reach the system at {}. Start it with: nightshift\n",
            base.as_str().trim_end_matches('/')
        )
    );
}

#[tokio::test]
async fn following_a_job_whose_end_is_known_says_how_it_ended() {
    let mut job = completed();
    job["id"] = ID.into();
    job["stream_url"] = "/s".into();
    let answers = [ok(job.clone()), status(StatusCode::NO_CONTENT, &Value::Null), ok(job)];
    let (_server, base) = Server::with(answers).await;
    let (mut out, written, _) = terminal();
    let args = FollowArgs { id: ID.to_owned(), after: 19, ..FollowArgs::default() };
    assert_eq!(follow(&base, &args, &mut out).await.unwrap(), code(0));
    assert_eq!(written.text(), format!("{ID}\n\n✓ completed  2 turns · 3 tool calls · 1,234 tokens · $0.0012\n"));
}

#[tokio::test]
async fn ctrl_c_says_that_the_job_goes_on_and_how_to_watch_it() {
    for (owned, advice) in [
        (false, format!("the job goes on as long as its system runs; watch it with: nightshift follow {ID} --port ")),
        (true, "the job goes on the next time the system starts (nightshift); then watch it with: ".to_owned()),
    ] {
        let (_server, base) = Server::with([]).await;
        let client = Client::new(&base, None).unwrap();
        let job = super::super::event::Job::parse(&queued_job()).unwrap();
        let (out, err) = (Written::default(), Written::default());
        let mut live = Terminal::new(out.clone(), err.clone(), Look::Live { columns: 80, rows: 24 });
        let caller = Caller::default();
        let watch = Watch::new(&base, &caller, owned);
        assert_eq!(watch.job(client, job, future::ready(()), &mut live).await.unwrap(), code(130));
        assert!(err.text().contains(advice.split(" nightshift follow").next().unwrap()), "{}", err.text());
        assert!(!owned || !err.text().contains("--port"));
        assert_eq!(seen(&out.text(), 80), [format!("{ID}  demo/model")]);
    }
}

#[tokio::test]
async fn jobs_are_an_aligned_table_over_as_many_pages_as_it_takes() {
    let now = jiff::Timestamp::now();
    let ago = |seconds: i64| (now - jiff::SignedDuration::from_secs(seconds)).to_string();
    let first = json!({"data": [
        {"id": "job_3", "status": "input_required", "created_at": ago(90), "model": "a/model", "title": "Write to Ada"},
        {"id": "job_2", "status": "completed", "created_at": ago(7300), "model": "b", "title": "Noon? 日本"},
    ], "next_page": "p2"});
    let second = json!({"data": [
        {"id": "job_1", "status": "failed", "created_at": ago(400_000), "error": {"code": "x", "message": "No \u{1b}[2Jluck"}},
    ], "next_page": null});
    let waits = json!({"id": "job_3", "status": "input_required", "title": "Write to Ada", "input_requests": [
        {"id": "r.1", "kind": "approval", "prompt": "Done?", "answer": {"action": "approve"}},
        {"id": "r.2", "kind": "review", "prompt": "May this go out?"}]});
    let (server, base) = Server::with([ok(first), ok(second), ok(waits)]).await;
    let (mut out, written, _) = terminal();
    let args = JobsArgs { limit: 20, ..JobsArgs::default() };
    assert_eq!(jobs(&base, &args, &mut out).await.unwrap(), code(0));
    assert_eq!(
        written.text(),
        "\
id     status              age  model    about
job_3  ? input required  1 min  a/model  Write to Ada — May this go out?
job_2  ✓ completed         2 h  b        Noon? 日本
job_1  ✗ failed            4 d           No luck
"
    );
    assert_eq!(server.asked(), ["GET /jobs?limit=20", "GET /jobs?limit=18&page=p2", "GET /jobs/job_3"]);
}

#[tokio::test]
async fn a_job_is_shown_in_full() {
    let mut job = completed();
    let calls = json!([{"id": "a", "turn": 1, "name": "calculate", "arguments": "{\"expression\":\"1+1\"}",
                        "status": "completed", "result": "2", "duration_ms": 4}]);
    let members = json!({"id": ID, "model": "demo/model", "tool_calls": calls, "last_event": 19,
                         "title": "What time is it?",
                         "metadata": {"ticket": "7"}, "output": "It is\n\nnoon.\u{7}"});
    job.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let (_server, base) = Server::with([ok(job)]).await;
    let (mut out, written, _) = terminal();
    let args = ShowArgs { id: ID.to_owned(), ..ShowArgs::default() };
    assert_eq!(show(&base, &args, &mut out).await.unwrap(), code(0));
    assert_eq!(
        written.text(),
        "\
job_01JD000000000000000000TEST  ✓ completed

  about      What time is it?
  model      demo/model
  turns      2
  tokens     1,200 in · 34 out
  cost       $0.0012
  events     19
  metadata   ticket=7

  tool calls
  ✓ calculate  1+1 → 2   4 ms

  output
  It is
  
  noon.
"
    );
}

#[tokio::test]
async fn cancelling_says_what_became_of_the_job() {
    for (status, said) in [
        ("cancelled", "– job_1  cancelled\n"),
        ("completed", "✓ job_1  had ended already: completed\n"),
        ("running", "● job_1  is being cancelled (running)\n"),
    ] {
        let (server, base) = Server::with([ok(json!({"id": "job_1", "status": status}))]).await;
        let (mut out, written, _) = terminal();
        let args = CancelArgs { id: "job_1".to_owned(), ..CancelArgs::default() };
        assert_eq!(cancel(&base, &args, &mut out).await.unwrap(), code(0));
        assert_eq!(written.text(), said);
        assert_eq!(server.asked(), ["POST /jobs/job_1/cancel"]);
    }
}

#[tokio::test]
async fn tools_are_listed_with_what_they_do() {
    let schema = json!({"type": "object", "required": ["expression"], "properties": {
        "expression": {"type": "string", "description": "For example `1 + 1`."},
        "digits": {"type": ["integer", "null"]}}});
    let listed = json!({"data": [
        {"name": "calculate", "description": "Evaluates an expression.", "parameters": schema, "enabled": false},
        {"type": "function", "function": {"name": "get_current_time", "description": "Tells the time."}},
    ]});
    let (_server, base) = Server::with([ok(listed)]).await;
    let (mut out, written, _) = terminal();
    assert_eq!(tools(&base, &ToolsArgs::default(), &mut out).await.unwrap(), code(0));
    let mut lines: Vec<String> = written.text().lines().map(str::to_owned).collect();
    lines[2..5].sort_by_key(|line| !line.contains("expression") && !line.contains("1 + 1"));
    assert_eq!(
        lines,
        [
            "calculate (off)",
            "  Evaluates an expression.",
            "    expression (string)",
            "      For example `1 + 1`.",
            "    digits (integer, optional)",
            "",
            "get_current_time",
            "  Tells the time.",
        ]
    );
}

fn waiting_job() -> Value {
    let mut job = queued_job();
    let members = json!({"status": "input_required", "last_event": 3, "input_requests": [
        {"id": "main.1.call0", "kind": "approval", "prompt": "May the tool `send` run?",
         "tool_call": {"id": "c", "name": "send", "arguments": "{\"to\": \"ada\"}"},
         "options": [{"id": "approve", "label": "Approve", "action": "approve"}]},
    ]});
    extend(&mut job, members);
    job
}

#[tokio::test]
async fn a_job_that_asks_where_nobody_is_is_left_waiting_with_the_commands_that_answer_it() {
    let asks = waiting_job();
    let events = [
        event("job.queued", json!({"status": "queued"})),
        event("input.requested", asks["input_requests"][0].clone()),
        event("job.input_required", json!({"status": "input_required"})),
    ];
    for json in [false, true] {
        let frames: String = events.iter().enumerate().map(|(at, event)| frame(at + 1, event)).collect();
        let (server, base) = Server::with([accepted(), held(format!("{BEGIN}{frames}")), ok(asks.clone())]).await;
        let (mut out, written, err) = terminal();
        let args =
            RunArgs { no_tools: true, json, approvals: vec![("*".to_owned(), "always".to_owned())], ..doing("Hi") };
        assert_eq!(run(&base, &args, &mut out).await.unwrap(), code(3), "{}", err.text());
        let port = base.port().unwrap();
        assert_eq!(
            err.text(),
            format!(
                "\
{ID} waits for an answer:
  ? approval is needed
    May the tool `send` run?
    send
      {{\"to\": \"ada\"}}
    1 approve
    2 modify  with other arguments
    3 reject  refuse
    nightshift answer {ID} main.1.call0 approve --port {port}
    nightshift answer {ID} main.1.call0 modify 'JSON' --port {port}
    nightshift answer {ID} main.1.call0 reject \"WHY\" --port {port}
then watch it with: nightshift follow {ID} --port {port}
"
            )
        );
        assert_eq!(server.asked()[0], r#"POST /jobs {"approval":{"*":"always"},"input":"Hi"}"#);
        assert_eq!(written.text().lines().count(), if json { 3 } else { 4 });
    }
}

#[tokio::test]
async fn an_answer_finds_its_question_and_takes_the_data_as_the_question_wants_it() {
    let answered = json!({"id": ID, "status": "running"});
    let path = format!("/jobs/{ID}/input_requests/main.1.call0");
    for (words, body) in [
        (vec!["approve"], r#"{"action":"approve"}"#),
        (vec!["main.1.call0", "reject", "Not to Ada."], r#"{"action":"reject","data":{"reason":"Not to Ada."}}"#),
        (vec!["modify", r#"{"to": "bob"}"#], r#"{"action":"modify","data":{"to":"bob"}}"#),
    ] {
        let (server, base) = Server::with([ok(waiting_job()), ok(answered.clone())]).await;
        let (mut out, written, err) = terminal();
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let args = AnswerArgs { id: ID.to_owned(), words, ..AnswerArgs::default() };
        assert_eq!(answer(&base, &args, &mut out).await.unwrap(), code(0), "{}", err.text());
        assert_eq!(server.asked()[1], format!("POST {path} {body}"));
        assert!(written.text().starts_with(&format!("✓ {ID}  answered: ")), "{}", written.text());
    }
    for (words, said) in [
        (vec!["other.1", "approve", "x"], "has no question other.1; it asks main.1.call0"),
        (vec!["modify", "no JSON"], "this is not JSON"),
    ] {
        let (server, base) = Server::with([ok(waiting_job())]).await;
        let (mut out, _, err) = terminal();
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let args = AnswerArgs { id: ID.to_owned(), words, ..AnswerArgs::default() };
        assert_eq!(answer(&base, &args, &mut out).await.unwrap(), code(1));
        assert!(err.text().contains(said), "{}", err.text());
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_message_goes_to_a_job_and_a_retry_is_watched() {
    let (server, base) = Server::with([status(StatusCode::ACCEPTED, &Value::Null), ok(queued_job())]).await;
    let (mut out, written, _) = terminal();
    let args = SayArgs { id: "job_1".to_owned(), text: "And hurry.".to_owned(), ..SayArgs::default() };
    assert_eq!(say(&base, &args, &mut out).await.unwrap(), code(0));
    assert_eq!(server.asked(), [r#"POST /jobs/job_1/messages {"content":"And hurry."}"#, "GET /jobs/job_1"]);
    assert!(written.text().contains("the message is taken in at the next turn"), "{}", written.text());

    let (server, base) = Server::with([accepted(), stream_of(&[completed()])]).await;
    let (mut out, written, _) = terminal();
    let args = RetryArgs { id: "job_1".to_owned(), node: Some("writer".to_owned()), ..RetryArgs::default() };
    assert_eq!(retry(&base, &args, &mut out).await.unwrap(), code(0));
    assert_eq!(server.asked()[0], r#"POST /jobs/job_1/retry {"node_id":"writer"}"#);
    assert!(written.text().contains("✓ completed"), "{}", written.text());
}
