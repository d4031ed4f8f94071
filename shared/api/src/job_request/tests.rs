use domain::message::{Content, Part};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::Finding;

const JOB: &str = "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3";

fn is_tool(name: &str) -> bool {
    ["look", "get_current_time"].contains(&name)
}

fn parse_bytes(body: &[u8]) -> Result<StartJobRequest, ApiError> {
    StartJobRequest::parse(
        body,
        &Defaults { model: Some("default-model".into()), mcp_servers: vec!["wiki".into(), "shop".into()] },
        &is_tool,
    )
}

fn parse(body: &Value) -> Result<StartJobRequest, ApiError> {
    parse_bytes(body.to_string().as_bytes())
}

fn findings(result: Result<StartJobRequest, ApiError>) -> Vec<Finding> {
    match result {
        Err(ApiError::Invalid(findings)) => findings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_shortest_request_has_the_contracts_defaults() {
    let request = parse(&json!({"input": "hello"})).unwrap();
    let spec = JobSpec {
        messages: vec![Message::user("hello")],
        settings: ModelSettings { model: "default-model".into(), ..ModelSettings::default() },
        ..JobSpec::default()
    };
    let expected = StartJobRequest {
        spec,
        thread: None,
        message: None,
        previous_job: None,
        retention_seconds: 604_800,
        workflow: None,
        model_api_key: None,
        has_instructions: false,
    };
    assert_eq!(request, expected);
}

#[test]
fn every_supported_member_arrives() {
    let schema = json!({"type": "object", "properties": {"x": {"type": "string"}}});
    let body = json!({
        "input": [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                {"type": "file", "file": {"file_id": "f"}}]},
            {"role": "assistant", "content": null, "refusal": null, "annotations": [], "reasoning_content": "hm",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "s"}}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
            {"role": "user", "content": "And now?"}],
        "instructions": "Be brief.", "model": "m",
        "tools": ["look", {"type": "function", "function": {"name": "mine", "description": "d", "parameters": schema,
            "strict": true}, "execution": "client"}, {"type": "function", "function": {"name": "bare"}}],
        "tool_choice": {"type": "function", "function": {"name": "mine"}}, "parallel_tool_calls": false,
        "temperature": 0, "top_p": 1, "max_output_tokens": 100.0, "reasoning": {"effort": "high"},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "thread_id": "t", "message_id": "m1", "previous_job_id": JOB,
        "limits": {"max_turns": 100, "max_tool_calls_per_turn": 1, "turn_seconds": 600, "deadline_seconds": 86400,
            "queue_seconds": 604800},
        "metadata": {"k".repeat(64): "é".repeat(512)}, "retention_seconds": 3600, "approval": null
    });
    let request = parse(&body).unwrap();
    let messages = &request.spec.messages;
    assert_eq!(
        (messages.len(), &messages[0], &messages[1]),
        (6, &Message::system("Be brief."), &Message::system("Be kind."))
    );
    let Message::User { content: Content::Parts(parts) } = &messages[2] else { panic!("{:?}", messages[2]) };
    assert_eq!(
        serde_json::to_value(&messages[3]).unwrap(),
        json!({"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "s"}}}]})
    );
    assert_eq!(parts[1], Part::ImageUrl { image_url: json!({"url": "https://x/y.png", "detail": "low"}) });
    assert_eq!(
        request.spec.settings,
        ModelSettings {
            model: "m".into(),
            temperature: Some(0.0),
            top_p: Some(1.0),
            max_output_tokens: Some(100),
            reasoning: Some(json!({"effort": "high"})),
            response_format: Some(json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {}}})),
            tool_choice: ToolChoice::Named("mine".into()),
            parallel_tool_calls: Some(false),
        }
    );
    let client = |name: &str, description: &str, parameters, waits| ToolRef::Client {
        spec: domain::tool_call::ToolSpec { name: name.into(), description: description.into(), parameters },
        waits,
    };
    assert_eq!(
        request.spec.tools,
        [
            ToolRef::Registered { name: "look".into() },
            client("mine", "d", schema, true),
            client("bare", "", json!({"type": "object", "properties": {}}), false),
        ]
    );
    assert_eq!(
        request.spec.limits,
        JobLimits {
            max_turns: 100,
            max_tool_calls_per_turn: 1,
            turn_seconds: 600,
            deadline_seconds: 86_400,
            queue_seconds: 604_800,
            input_seconds: 900,
            max_total_tokens: None,
            max_cost_usd: None,
        }
    );
    assert_eq!(request.spec.metadata.len(), 1);
    assert_eq!(request.previous_job.as_ref().map(JobId::as_str), Some(JOB));
    assert_eq!(request.spec.previous_job, request.previous_job);
    assert_eq!((request.thread.unwrap().as_str(), request.message.unwrap().as_str()), ("t", "m1"));
    assert_eq!((request.retention_seconds, request.has_instructions), (3600, true));
}

#[test]
fn a_job_names_mcp_servers_and_perhaps_some_of_their_tools() {
    let body = json!({"input": "Hello", "tools": [
        {"type": "mcp", "server": "wiki"}, {"type": "mcp", "server": "shop", "tools": ["orders"]}],
        "tool_choice": {"type": "function", "function": {"name": "shop__orders"}}});
    let request = parse(&body).unwrap();
    assert_eq!(
        request.spec.tools,
        [
            ToolRef::Mcp { server: "wiki".into(), tools: None },
            ToolRef::Mcp { server: "shop".into(), tools: Some(vec!["orders".into()]) },
        ]
    );
    let twice =
        json!({"input": "Hello", "tools": [{"type": "mcp", "server": "wiki"}, {"type": "mcp", "server": "wiki"}]});
    let error = format!("{:?}", parse(&twice).unwrap_err());
    assert!(error.contains("The MCP server `wiki` is named twice; name it once."), "{error}");
}

/// A body beside `input` (unless it has one), and everything that is to be found in it.
fn bad_bodies() -> Vec<(Value, Vec<(&'static str, &'static str)>)> {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let range = |name: &'static str, range: &str| (name, leak(format!("`{name}` must be {range}.")));
    let names_rule = |n: usize| {
        leak(format!("`tools[{n}].tools` must have 1 to 128 names; leave it out for all of the server's tools."))
    };
    let dangling =
        "The call `c1` has no answer. Put a `tool` message with its result behind it, or leave the call out.";
    let assistant = |id: &str| json!({"role": "assistant", "tool_calls": [{"id": id, "function": {"name": "look", "arguments": "{}"}}]});
    let choice =
        "`tool_choice` must be `auto`, `none`, `required`, or `{\"type\": \"function\", \"function\": {\"name\": …}}`.";
    vec![
        (json!({"input": null}), vec![("input", "`input` is required: the text, or an array of chat messages.")]),
        (json!({"input": " \n"}), vec![("input", "`input` is empty. Say what the job is to do.")]),
        (json!({"input": []}), vec![("input", "`input` has no messages. Send at least one.")]),
        (json!({"input": 7}), vec![("input", "`input` must be a string, or an array of chat messages, not a number.")]),
        (json!({"input": ["hi"]}), vec![("input[0]", "`input[0]` must be an object, not a string.")]),
        (
            json!({"input": [{"role": "robot", "content": "x"}]}),
            vec![("input[0].role", "`input[0].role` must be `system`, `developer`, `user`, `assistant` or `tool`.")],
        ),
        (
            json!({"input": [{"role": "user"}, {"role": "user", "content": ""}, {"role": "user", "content": "x", "mood": 1}]}),
            vec![
                ("input[0].content", "`input[0].content` is required: a string, or an array of parts."),
                ("input[1].content", "`input[1].content` is empty. Say something, or leave the message out."),
                ("input[2].mood", "There is no member `input[2].mood`. Remove it, or correct its spelling."),
            ],
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "video"}, {"type": "image_url", "image_url": {}}, {"type": "text"}]}]}),
            vec![
                (
                    "input[0].content[0].type",
                    "`input[0].content[0].type` must be `text`, `image_url`, `file` or `input_audio`.",
                ),
                ("input[0].content[1].image_url.url", "`input[0].content[1].image_url.url` is required: a string."),
                ("input[0].content[2].text", "`input[0].content[2].text` is required: a string."),
            ],
        ),
        (json!({"input": [assistant("c1")]}), vec![("input[0].tool_calls", dangling)]),
        (
            json!({"input": [assistant("c1"), {"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "c1", "content": "y"}]}),
            vec![
                ("input[0].tool_calls", dangling),
                (
                    "input[2].tool_call_id",
                    "`input[2]` answers `c1`, which is not an open call of the assistant's message before it.",
                ),
            ],
        ),
        (
            json!({"input": [assistant("c1"), {"role": "tool", "tool_call_id": "c1", "content": "y"}, assistant("c1"),
                {"role": "tool", "tool_call_id": "c1", "content": "y"}]}),
            vec![("input[2].tool_calls", "The call id `c1` comes twice in the conversation; each call needs its own.")],
        ),
        (
            json!({"input": [{"role": "tool", "content": "y"}]}),
            vec![("input[0].tool_call_id", "`input[0].tool_call_id` is required.")],
        ),
        (
            json!({"input": [{"role": "assistant"}, {"role": "user", "content": "x"}]}),
            vec![("input[0].content", "`input[0].content` is required where there are no `tool_calls`.")],
        ),
        (
            json!({"model": ""}),
            vec![("model", "`model` must have 1 to 256 characters, none of them a control character.")],
        ),
        (json!({"model": 5}), vec![("model", "`model` must be a string, not a number.")]),
        (json!({"instructions": ["x"]}), vec![("instructions", "`instructions` must be a string, not an array.")]),
        (json!({"temperature": 2.1}), vec![range("temperature", "a number from 0 to 2")]),
        (
            json!({"temperature": "hot"}),
            vec![("temperature", "`temperature` must be a number from 0 to 2, not a string.")],
        ),
        (json!({"top_p": -0.1}), vec![range("top_p", "a number from 0 to 1")]),
        (json!({"max_output_tokens": 0}), vec![range("max_output_tokens", "an integer from 1 to 4294967295")]),
        (json!({"max_output_tokens": 1.5}), vec![range("max_output_tokens", "an integer from 1 to 4294967295")]),
        (
            json!({"parallel_tool_calls": 1}),
            vec![("parallel_tool_calls", "`parallel_tool_calls` must be true or false, not a number.")],
        ),
        (json!({"reasoning": "high"}), vec![("reasoning", "`reasoning` must be an object, not a string.")]),
        (
            json!({"response_format": "json"}),
            vec![("response_format", "`response_format` must be an object, not a string.")],
        ),
        (
            json!({"response_format": {"schema": {}}}),
            vec![(
                "response_format.type",
                "`response_format.type` is required: `text`, `json_object`, `json_schema`, or another that the model knows.",
            )],
        ),
        (
            json!({"response_format": {"type": "json_schema"}}),
            vec![(
                "response_format.json_schema",
                "`response_format.json_schema` is required with this type: an object with `name` and `schema`.",
            )],
        ),
        (
            json!({"limits": {"max_turns": 101, "max_tool_calls_per_turn": 0, "turn_seconds": 601, "deadline_seconds": 86401,
                "queue_seconds": -1, "max_jobs": 1}, "retention_seconds": 3599}),
            vec![
                range("limits.max_turns", "an integer from 1 to 100"),
                range("limits.max_tool_calls_per_turn", "an integer from 1 to 100"),
                range("limits.turn_seconds", "an integer from 1 to 600"),
                range("limits.deadline_seconds", "an integer from 1 to 86400"),
                range("limits.queue_seconds", "an integer from 1 to 604800"),
                ("limits.max_jobs", "There is no member `limits.max_jobs`. Remove it, or correct its spelling."),
                range("retention_seconds", "an integer from 3600 to 31536000"),
            ],
        ),
        (
            json!({"retention_seconds": 31_536_001}),
            vec![range("retention_seconds", "an integer from 3600 to 31536000")],
        ),
        (
            json!({"metadata": {"k": 1, "v": "x".repeat(513), "": "y"}}),
            vec![
                ("metadata.", "A key of `metadata` must have 1 to 64 characters."),
                ("metadata.k", "`metadata.k` must be a string, not a number."),
                ("metadata.v", "`metadata.v` must have at most 512 characters."),
            ],
        ),
        (
            json!({"metadata": (0..17).map(|n| (n.to_string(), json!("x"))).collect::<serde_json::Map<_, _>>()}),
            vec![("metadata", "`metadata` has 17 pairs and may have 16.")],
        ),
        (
            json!({"thread_id": "a\nb", "message_id": "", "previous_job_id": "job_1"}),
            vec![
                ("thread_id", "`thread_id` is not a valid thread id: it has 1 to 256 bytes and no control characters."),
                (
                    "message_id",
                    "`message_id` is not a valid message id: it has 1 to 256 bytes and no control characters.",
                ),
                (
                    "previous_job_id",
                    "`previous_job_id` is not a valid job id: it is `job_` followed by a ULID (26 characters).",
                ),
            ],
        ),
        (json!({"tools": "look"}), vec![("tools", "`tools` must be an array, not a string.")]),
        (
            json!({"tools": ["nothing", "a b", 5, "look", "look"]}),
            vec![
                (
                    "tools[0]",
                    "There is no registered tool `nothing`. GET /tools lists those that there are; to run it yourself, \
                     define it as `{\"type\": \"function\", \"function\": {…}}`.",
                ),
                ("tools[1]", "`tools[1]` is not the name of a tool: it has 1 to 64 letters, digits, `_` and `-`."),
                (
                    "tools[2]",
                    "`tools[2]` must be the name of a registered tool, or an object that defines one of your own or names an MCP \
                     server, not a number.",
                ),
                ("tools[4]", "The tool `look` is named twice; name it once."),
            ],
        ),
        (
            json!({"tools": [
                {"type": "function"},
                {"type": "function", "function": {}},
                {"type": "function", "function": {"name": "look"}},
                {"type": "function", "function": {"name": "x y"}, "execution": "server"},
                {"type": "function", "function": {"name": "z", "parameters": {"type": "array"}, "code": ""}},
                {"type": "web_search"},
                {"type": "mcp", "server": "s"}, {"type": "mcp"}, {"type": "mcp", "server": "wiki", "tools": []},
                {"type": "mcp", "server": "wiki", "tools": ["a", 1]}, {"type": "mcp", "server": "shop", "url": "x"}]}),
            vec![
                ("tools[0].function", "`tools[0].function` is required: an object with `name`."),
                ("tools[1].function.name", "`tools[1].function.name` is required."),
                (
                    "tools[2].function.name",
                    "`look` is the name of a registered tool. Choose another, or write just \"look\" to use that one.",
                ),
                (
                    "tools[3].execution",
                    "`tools[3].execution` must be `client`: only its caller can run a tool that a job defines.",
                ),
                (
                    "tools[3].function.name",
                    "`tools[3].function.name` is not the name of a tool: it has 1 to 64 letters, digits, `_` and `-`.",
                ),
                (
                    "tools[4].function.code",
                    "There is no member `tools[4].function.code`. Remove it, or correct its spelling.",
                ),
                (
                    "tools[4].function.parameters",
                    "`tools[4].function.parameters` must be a JSON schema of type `object`.",
                ),
                ("tools[5].type", "`tools[5].type` must be `function` or `mcp`."),
                ("tools[6].server", "This deployment has no MCP server `s`; it has `wiki`, `shop`."),
                ("tools[7].server", "`tools[7].server` is required: the name of an MCP server."),
                ("tools[8].tools", names_rule(8)),
                ("tools[9].tools", names_rule(9)),
                ("tools[10].url", "There is no member `tools[10].url`. Remove it, or correct its spelling."),
            ],
        ),
        (json!({"tool_choice": "any"}), vec![("tool_choice", choice)]),
        (json!({"tool_choice": {"type": "function"}}), vec![("tool_choice", choice)]),
        (
            json!({"tool_choice": "required"}),
            vec![(
                "tool_choice",
                "`tool_choice` is `required` and the job has no tools. Add `tools`, or leave it out.",
            )],
        ),
        (
            json!({"tools": ["look"], "tool_choice": {"type": "function", "name": "get_current_time"}}),
            vec![(
                "tool_choice",
                "`tool_choice` names `get_current_time`, which is not among the job's tools: `look`.",
            )],
        ),
        (
            json!({"messages": [], "max_tokens": 5, "foo": 1}),
            vec![
                ("messages", "There is no member `messages`; put the conversation into `input`."),
                ("max_tokens", "There is no member `max_tokens`; it is called `max_output_tokens`."),
                ("foo", "There is no member `foo`. Remove it, or correct its spelling."),
            ],
        ),
        (
            json!({"workflow": {}, "workflow_id": "w"}),
            vec![("workflow_id", "Send either `workflow` or `workflow_id`, not both.")],
        ),
        (
            json!({"compaction": {"threshold": 0, "preserve_recent": 0, "strategy": "forget", "foo": 1}}),
            vec![
                range("compaction.threshold", "an integer from 1 to 4294967295"),
                range("compaction.preserve_recent", "an integer from 1 to 1000"),
                range("compaction.strategy", "`summarize` or `truncate`"),
                ("compaction.foo", "There is no member `compaction.foo`. Remove it, or correct its spelling."),
            ],
        ),
    ]
}

#[test]
fn everything_that_is_wrong_is_found_and_named() {
    for (mut body, expected) in bad_bodies() {
        if body.get("input").is_none() {
            body["input"] = json!("hello");
        }
        // Members come in the map's order, which is not a promise.
        let mut found: Vec<(String, String)> =
            findings(parse(&body)).into_iter().map(|finding| (finding.param, finding.message)).collect();
        found.sort();
        let mut expected: Vec<(String, String)> =
            expected.into_iter().map(|(param, message)| (param.to_owned(), message.to_owned())).collect();
        expected.sort();
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn a_model_is_required_where_there_is_no_default() {
    let result = StartJobRequest::parse(br#"{"input": "x"}"#, &Defaults::default(), &is_tool);
    assert_eq!(
        findings(result),
        [Finding::new(
            "model",
            "`model` is required: this deployment has no default. Name one, such as `openai/gpt-4o-mini`."
        )]
    );
}

#[test]
fn what_is_not_a_json_object_is_refused_with_its_place() {
    let table: [(&[u8], &str); 5] = [
        (b" \n", "The body is empty. Send a JSON object with at least `input`."),
        (b"[1]", "The body must be a JSON object with at least `input`."),
        (
            b"{\n\"input\": x}",
            "The body is not JSON that can be read: expected value at line 2 column 10. Correct it there.",
        ),
        (
            b"{\"input\": \"\xff\"}",
            "The body is not JSON that can be read: invalid unicode code point at line 1 column 12. Correct it there.",
        ),
        (
            b"{\"temperature\": 1e999}",
            "The body is not JSON that can be read: number out of range at line 1 column 21. Correct it there.",
        ),
    ];
    for (body, message) in table {
        assert_eq!(findings(parse_bytes(body)), [Finding::new("body", message)]);
    }
}

#[test]
fn hostile_nesting_is_an_error_and_not_a_crash() {
    for open in ["[", "{\"a\":"] {
        let found = findings(parse_bytes(format!("{{\"input\":{}", open.repeat(500_000)).as_bytes()));
        assert!(found[0].message.contains("recursion limit exceeded at line 1 column"), "{found:?}");
    }
}

#[test]
fn a_flood_of_findings_is_cut() {
    let body: serde_json::Map<String, Value> = (0..100_000).map(|n| (format!("m{n}"), json!(1))).collect();
    let found = findings(parse(&Value::Object(body)));
    assert_eq!(found.len(), 51);
    assert_eq!(found[50], Finding::new("body", "99951 more findings are left out."));
    let body = json!({"input": "x", "n".repeat(1_000_000): 1});
    assert!(findings(parse(&body))[0].message.len() < 300);
}

#[test]
fn input_over_4_mb_is_too_large_and_4_mb_is_not() {
    let fits = json!({"input": "x".repeat(INPUT_BYTES - 2)});
    assert!(parse(&fits).is_ok());
    let over = json!({"input": "x".repeat(INPUT_BYTES - 1)});
    assert!(matches!(parse(&over), Err(ApiError::TooLarge { part: "input", bytes, .. }) if bytes == INPUT_BYTES + 1));
    assert!(matches!(
        parse_bytes(&vec![b'['; BODY_BYTES + 1]),
        Err(ApiError::TooLarge { part: "body", most: BODY_BYTES, .. })
    ));
}

#[test]
fn a_job_goes_on_from_an_earlier_conversation() {
    let earlier = || vec![Message::system("Old orders."), Message::user("one")];
    let mut request = parse(&json!({"input": "two", "previous_job_id": JOB})).unwrap();
    request.continue_from(earlier());
    assert_eq!(request.spec.messages, [Message::system("Old orders."), Message::user("one"), Message::user("two")]);
    let mut request = parse(&json!({"input": "two", "instructions": "New.", "previous_job_id": JOB})).unwrap();
    request.continue_from(earlier());
    assert_eq!(request.spec.messages, [Message::system("New."), Message::user("one"), Message::user("two")]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "input",
        "tools",
        "role",
        "content",
        "tool_calls",
        "function",
        "name",
        "id",
        "type",
        "limits",
        "max_turns",
        "metadata",
        "tool_choice",
        "response_format",
        "workflow",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["user", "assistant", "tool", "function", "look", "text", "mcp", ""])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_crashes_the_reader_and_a_refusal_has_findings(mut body in any_json(), input in any_json()) {
        if let Value::Object(members) = &mut body {
            members.insert("input".into(), input);
        }
        match parse(&body) {
            Ok(request) => prop_assert!(!request.spec.messages.is_empty()),
            Err(ApiError::Invalid(findings)) => prop_assert!(!findings.is_empty()),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn no_bytes_crash_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_bytes(&bytes);
    }
}
