//! `template.yaml` and the code say the same: what the one declares is what the other uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use api::job_request::{Defaults, StartJobRequest};
use domain::lane::LeaseTimes;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};
use store::{
    key::{PK, SK},
    schema::Index,
};

use super::{between, directories, name, read};

/// The variables that a function reads by what its `main` calls first.
const BY_STARTUP: [(&str, &[&str]); 3] = [
    ("startup::tracing::init", &["NIGHTSHIFT_LOG"]),
    ("startup::metrics::init", &["NIGHTSHIFT_METRICS_NAMESPACE"]),
    ("startup::traces::init", &["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"]),
];
/// What a worker needs beside the longest turn: the claim before it, the commit after it, with their retries.
const AROUND_A_TURN: u64 = 60;

#[test]
fn the_table_is_the_stores() {
    let table = properties("Table");
    let keys = |hash: &str, range: &str| json!([{"AttributeName": hash, "KeyType": "HASH"}, {"AttributeName": range, "KeyType": "RANGE"}]);
    assert_eq!(table["KeySchema"], keys(PK, SK));
    let indexes: Vec<Value> = Index::ALL
        .iter()
        .map(|index| {
            json!({
                "IndexName": index.name(),
                "KeySchema": keys(index.hash(), index.range()),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            })
        })
        .collect();
    assert_eq!(table["GlobalSecondaryIndexes"], Value::from(indexes));

    let mut names: BTreeSet<&str> = BTreeSet::from([PK, SK]);
    names.extend(Index::ALL.iter().flat_map(|index| [index.hash(), index.range()]));
    let defined: BTreeMap<&str, &str> = list(&table["AttributeDefinitions"])
        .iter()
        .map(|attribute| (text(&attribute["AttributeName"]), text(&attribute["AttributeType"])))
        .collect();
    assert_eq!(defined, names.into_iter().map(|name| (name, "S")).collect());
    assert_eq!(list(&table["AttributeDefinitions"]).len(), defined.len());

    let items = read("shared/store/src/item.rs");
    let ttl = between(&items, "const TTL: &str = \"", "\"").expect("the store names the attribute of the TTL");
    assert_eq!(table["TimeToLiveSpecification"], json!({"AttributeName": ttl, "Enabled": true}));
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
}

#[test]
fn the_table_and_what_is_in_it_outlive_the_stack() {
    let template = template();
    assert_eq!(template["Resources"]["Table"]["DeletionPolicy"], "Retain");
    assert_eq!(template["Resources"]["Table"]["UpdateReplacePolicy"], "Retain");
    let table = properties("Table");
    assert_eq!(table["PointInTimeRecoverySpecification"], json!({"PointInTimeRecoveryEnabled": true}));
    assert_eq!(table["SSESpecification"], json!({"SSEEnabled": true}));
}

#[test]
fn each_function_is_given_the_variables_that_it_reads() {
    let functions = functions();
    let folders: Vec<String> = directories("functions").iter().map(|folder| name(folder)).collect();
    assert_eq!(functions.keys().cloned().collect::<Vec<_>>(), folders, "a function for each folder");
    let of_all = template();
    let of_all = &of_all["Globals"]["Function"]["Environment"]["Variables"];
    for (folder, function) in &functions {
        let mut given: BTreeSet<String> = BTreeSet::new();
        for variables in [of_all, &function["Environment"]["Variables"]] {
            given.extend(variables.as_object().into_iter().flatten().map(|(name, _)| name.clone()));
        }
        let main = read(format!("functions/{folder}/src/main.rs"));
        for (_, names) in BY_STARTUP.iter().filter(|(call, _)| main.contains(call)) {
            for name in *names {
                assert!(given.remove(*name), "{folder} is given no {name}");
            }
        }
        let config = read(format!("functions/{folder}/src/config.rs"));
        let reads: BTreeSet<String> = config
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|text| text.strip_prefix("NIGHTSHIFT_").is_some_and(is_name))
            .map(str::to_owned)
            .collect();
        assert!(!reads.is_empty(), "{folder} reads nothing");
        assert_eq!(given, reads, "{folder}");
    }
}

#[test]
fn each_route_of_the_routers_is_in_the_template_with_the_users_authorizer() {
    let mut there = routes_of_the_template();
    // The page is everybody's; what it asks for is not.
    for path in web_console::ROUTES {
        assert_eq!(there.remove(&format!("GET {path}")).as_deref(), Some("jobs"), "the console's {path}");
    }
    for route in of_type(&template(), "AWS::ApiGatewayV2::Route") {
        let key = text(&route["RouteKey"]);
        // So is the API's description.
        if web_console::ROUTES.iter().chain([&api::paths::OPENAPI]).any(|path| key == format!("GET {path}")) {
            assert_eq!(text(&route["AuthorizationType"]), "NONE", "{key}");
            continue;
        }
        assert_eq!((text(&route["AuthorizationType"]), &route["AuthorizerId"]), ("JWT", &json!({"!Ref": "Users"})));
    }
    let paths = read("shared/api/src/paths.rs");
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    for folder in ["start-job", "jobs"] {
        for key in routes(&read(format!("functions/{folder}/src/lib.rs")), &paths) {
            wanted.insert(key, folder.to_owned());
        }
    }
    assert!(wanted.len() > 5, "the routers were not understood: {wanted:?}");
    assert_eq!(there, wanted);
}

#[test]
fn pages_of_allowed_origins_may_use_every_method_of_the_api() {
    let allowed = &properties("Api")["CorsConfiguration"]["AllowMethods"];
    let allowed: BTreeSet<&str> = list(allowed).iter().map(text).collect();
    let routes = routes_of_the_template();
    let used: BTreeSet<&str> = routes.keys().filter_map(|key| key.split(' ').next()).collect();
    assert_eq!(allowed, used);
}

#[test]
fn cargo_lambda_watch_routes_as_the_template_and_the_function_url_do() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("the workspace's manifest is TOML");
    let router = &manifest["workspace"]["metadata"]["lambda"]["watch"]["router"];
    let function = |method: &str, path: &str| match router.get(path).unwrap_or(&router["/{*rest}"]) {
        toml::Value::String(function) => Some(function.clone()),
        toml::Value::Array(methods) => methods
            .iter()
            .find(|route| route["method"].as_str() == Some(method))
            .and_then(|route| route["function"].as_str().map(str::to_owned)),
        other => panic!("not a route: {other:?}"),
    };
    for (key, folder) in routes_of_the_template() {
        let (method, path) = key.split_once(' ').expect("a route has a method and a path");
        assert_eq!(function(method, path), Some(folder), "{key}");
    }
    assert_eq!(function("GET", api::paths::JOB_STREAM).as_deref(), Some("stream"));
}

#[test]
fn a_worker_has_time_for_the_longest_turn_that_may_be_asked_for() {
    let timeout = number(&functions()["worker"]["Timeout"]);
    let asked = |seconds: u64| {
        let body = json!({"input": "Hello", "model": "m", "limits": {"turn_seconds": seconds}}).to_string();
        StartJobRequest::parse(body.as_bytes(), &Defaults::default(), &|_| false)
    };
    assert!(asked(1).is_ok());
    assert!(
        asked(timeout - AROUND_A_TURN + 1).is_err(),
        "a turn may take longer than a worker of {timeout} s has for it"
    );
}

#[test]
fn a_queue_hides_a_message_six_times_as_long_as_a_worker_may_take() {
    let (template, functions) = (template(), functions());
    let worker = &functions["worker"];
    let mut sources = BTreeSet::new();
    for event in worker["Events"].as_object().into_iter().flatten().map(|(_, event)| event) {
        let source = &event["Properties"];
        assert_eq!(event["Type"], "SQS");
        assert_eq!(number(&source["BatchSize"]), 1);
        assert_eq!(source["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
        let limit = text(&source["ScalingConfig"]["MaximumConcurrency"]["!Ref"]);
        assert_eq!(number(&template["Parameters"][limit]["Default"]), 20);
        sources.insert(text(&source["Queue"]["!GetAtt"]).trim_end_matches(".Arn").to_owned());
    }
    assert_eq!(sources, ["Continuations", "Starts"].map(str::to_owned).into());
    for queue in sources {
        let queue = properties(&queue);
        assert!(number(&queue["VisibilityTimeout"]) >= 6 * number(&worker["Timeout"]));
        assert_eq!(number(&queue["RedrivePolicy"]["maxReceiveCount"]), 50);
        let dead_letters = text(&queue["RedrivePolicy"]["deadLetterTargetArn"]["!GetAtt"]).trim_end_matches(".Arn");
        let kept = number(&properties(dead_letters)["MessageRetentionPeriod"]);
        assert!(kept >= number(&queue["MessageRetentionPeriod"]), "what is dead keeps its age");
    }
    let longest_turn = number(&worker["Timeout"]);
    let oldest = number(&template["Parameters"]["OldestMessageSeconds"]["MinValue"]);
    assert!(oldest > longest_turn, "the alarm would be raised by every long turn");
}

#[test]
fn times_fit_into_each_other() {
    let functions = functions();
    let times = LeaseTimes::default();
    assert!(times.length >= 3 * times.renew_every, "a lease outlasts two renewals that fail");
    assert!(times.length < Duration::from_secs(10), "a job goes on within ten seconds of its worker's death");
    assert!(
        startup::aws::OPERATION < times.length,
        "whoever asks still holds the lease when told that nothing came of it"
    );
    let stream = Duration::from_secs(number(&functions["stream"]["Timeout"]));
    assert!(stream >= stream::Settings::default().longest + Duration::from_secs(30));
    assert_eq!(functions["sweeper"]["Events"]["EveryMinute"]["Properties"]["Schedule"], "rate(1 minute)");
    assert!(number(&functions["sweeper"]["Timeout"]) < 60);
    for folder in ["start-job", "jobs"] {
        assert!(number(&functions[folder]["Timeout"]) < 30, "API Gateway gives up after 30 s");
    }
}

#[test]
fn no_parameter_takes_what_the_functions_would_refuse() {
    for (name, parameter) in template()["Parameters"].as_object().expect("the template has parameters") {
        match text(&parameter["Type"]) {
            "Number" if parameter.get("AllowedValues").is_some() => {}
            "Number" => {
                let (least, most) = (number(&parameter["MinValue"]), number(&parameter["MaxValue"]));
                let usual = number(&parameter["Default"]);
                assert!(least >= 1 && least <= usual && usual <= most, "{name}");
            }
            "String" if parameter.get("AllowedPattern").is_some() => {
                assert!(parameter["ConstraintDescription"].is_string(), "{name} says what it must be");
            }
            // Free text, of which the functions say at their start what is wrong with it.
            "String" => {
                assert!(parameter.get("AllowedValues").is_some() || FREE.contains(&name.as_str()), "{name}");
            }
            "CommaDelimitedList" => {}
            other => panic!("{name} is a {other}"),
        }
    }
}

const FREE: [&str; 4] = ["DefaultModel", "ModelPrices", "Tools", "LogFilter"];

#[test]
fn the_stream_is_sent_as_it_is_written() {
    let functions = functions();
    let url = &functions["stream"]["FunctionUrlConfig"];
    assert_eq!((&url["InvokeMode"], &url["AuthType"]), (&json!("RESPONSE_STREAM"), &json!("NONE")));
    assert_eq!(url["Cors"]["AllowMethods"], json!(["GET"]));
    assert_eq!(url["Cors"]["AllowHeaders"], json!(["last-event-id"]));
}

#[test]
fn viewers_and_callers_can_be_kept_from_taking_all_executions() {
    for (folder, condition, limit) in
        [("stream", "HasStreamConcurrency", "StreamConcurrency"), ("jobs", "HasJobsConcurrency", "JobsConcurrency")]
    {
        let reserved = &functions()[folder]["ReservedConcurrentExecutions"]["!If"];
        assert_eq!(reserved, &json!([condition, {"!Ref": limit}, {"!Ref": "AWS::NoValue"}]), "{folder}");
        assert_eq!(template()["Parameters"][limit]["Default"], "", "small accounts cannot reserve any");
    }
    let throttled = &properties("Stage")["DefaultRouteSettings"];
    assert_eq!(
        throttled,
        &json!({"ThrottlingRateLimit": {"!Ref": "ApiRate"}, "ThrottlingBurstLimit": {"!Ref": "ApiBurst"}})
    );
}

#[test]
fn browsers_elsewhere_may_send_the_headers_that_the_api_reads() {
    let cors = &properties("Api")["CorsConfiguration"];
    for header in ["authorization", "content-type", "idempotency-key", "last-event-id", "traceparent"] {
        assert!(list(&cors["AllowHeaders"]).contains(&json!(header)), "{header}");
    }
}

#[test]
fn each_function_has_a_role_and_a_log_of_its_own() {
    let mut seen = BTreeSet::new();
    for (folder, function) in functions() {
        for (what, place) in
            [("role", &function["Role"]["!GetAtt"]), ("log", &function["LoggingConfig"]["LogGroup"]["!Ref"])]
        {
            assert!(seen.insert(text(place).to_owned()), "{folder} shares its {what}");
        }
        let role = properties(text(&function["Role"]["!GetAtt"]).trim_end_matches(".Arn"));
        for policy in list(&role["Policies"]) {
            for statement in list(&policy["PolicyDocument"]["Statement"]) {
                let words = statement.to_string();
                assert!(!words.contains(":*\"") && !words.contains("\"*\""), "{folder} may do too much: {words}");
                assert!(!words.contains("dynamodb:Scan"), "nothing ever scans");
            }
        }
        assert_eq!(role.get("ManagedPolicyArns"), None, "{folder}");
    }
}

/// The HTTP API's routes, as `METHOD /path`, with the folders of their functions.
fn routes_of_the_template() -> BTreeMap<String, String> {
    let mut there = BTreeMap::new();
    for route in of_type(&template(), "AWS::ApiGatewayV2::Route") {
        let integration = text(&route["Target"]["!Sub"]);
        let integration = between(integration, "integrations/${", "}").expect("a route has an integration");
        let function = text(&properties(integration)["IntegrationUri"]["!GetAtt"]).trim_end_matches(".Arn").to_owned();
        let folder = text(&properties(&function)["CodeUri"]).trim_start_matches("functions/").to_owned();
        let key = text(&route["RouteKey"]).to_owned();
        assert_eq!(there.insert(key.clone(), folder), None, "{key} is there twice");
    }
    there
}

/// The functions' properties by the folder of their code.
fn functions() -> BTreeMap<String, Value> {
    of_type(&template(), "AWS::Serverless::Function")
        .into_iter()
        .map(|function| (name(Path::new(text(&function["CodeUri"]))), function))
        .collect()
}

pub(super) fn of_type(template: &Value, kind: &str) -> Vec<Value> {
    let resources = template["Resources"].as_object().into_iter().flatten().map(|(_, resource)| resource);
    resources.filter(|resource| resource["Type"] == kind).map(|resource| resource["Properties"].clone()).collect()
}

fn properties(resource: &str) -> Value {
    let properties = template()["Resources"][resource]["Properties"].take();
    assert!(properties.is_object(), "the template has no {resource}");
    properties
}

/// The template, where `!Tag value` reads as `{"!Tag": value}`.
pub(super) fn template() -> Value {
    let source = read("template.yaml");
    let documents = Yaml::load_from_str(&source).expect("the template is YAML");
    json_of(&documents[0])
}

fn json_of(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => Value::from(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(*value),
        Yaml::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => Value::from(value.as_ref()),
        Yaml::Sequence(items) => items.iter().map(json_of).collect(),
        Yaml::Mapping(pairs) => {
            let key = |key: &Yaml<'_>| key.as_str().expect("the template's keys are text").to_owned();
            Value::from(pairs.iter().map(|(name, value)| (key(name), json_of(value))).collect::<Map<_, _>>())
        }
        Yaml::Tagged(tag, value) => json!({format!("!{}", tag.suffix): json_of(value)}),
        other => panic!("the template has what this test cannot read: {other:?}"),
    }
}

/// What a router's source serves, as `METHOD /path`; `not_yet` is not served.
fn routes(router: &str, paths: &str) -> Vec<String> {
    let mut found = Vec::new();
    for route in router.split(".route(paths::").skip(1) {
        let (constant, rest) = route.split_once(',').expect("a route has a path and its methods");
        let path =
            between(paths, &format!("pub const {constant}: &str = \""), "\"").expect("the path is in api::paths");
        let methods = rest.split_once(")\n").map_or(rest, |(methods, _)| methods);
        for method in ["get", "post", "put", "delete"] {
            let handler = between(methods, &format!("{method}("), ")");
            if handler.is_some_and(|handler| !handler.ends_with("not_yet")) {
                found.push(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}
