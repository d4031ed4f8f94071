//! The binary, as Lambda starts it.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../../../tests/starts.rs"]
mod starts;

use starts::Function;

#[test]
fn it_asks_for_its_first_invocation_and_without_a_variable_it_names_that() {
    function().starts_with_its_variables_and_not_without_one(&[
        "NIGHTSHIFT_LOG",
        "NIGHTSHIFT_METRICS_NAMESPACE",
        "NIGHTSHIFT_MODEL_PRICES",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "NIGHTSHIFT_MODEL_API_KEY",
        "NIGHTSHIFT_MODEL_HEADER_SECONDS",
        "NIGHTSHIFT_MODEL_IDLE_SECONDS",
        "NIGHTSHIFT_TOOLS",
        "NIGHTSHIFT_TOOL_SECRETS",
    ]);
}

#[test]
fn a_variable_that_is_wrong_is_named_with_its_rule() {
    function().refuses_as("NIGHTSHIFT_LOG", "engine=loud", "a filter");
    function().refuses_as("NIGHTSHIFT_SEALING_KEY", "hunter2", "bytes");
    function().refuses_as("NIGHTSHIFT_MODEL_URL", "somewhere", "a URL such as");
    function().refuses_as("NIGHTSHIFT_MODEL_PRICES", "{\"m\": 1}", "a JSON object such as");
    function().refuses_as("NIGHTSHIFT_MODEL_HEADER_SECONDS", "7200", "a number of seconds from 1 to 600");
    function().refuses_as("NIGHTSHIFT_MODEL_IDLE_SECONDS", "2 minutes", "a number of seconds from 1 to 600");
    function().refuses_as("NIGHTSHIFT_TOOLS", "{\"disabled\": [\"calculater\"]}", "there is no such tool");
    function().refuses_as("NIGHTSHIFT_TOOL_SECRETS", "hunter2", "a JSON object");
    function().refuses_as("NIGHTSHIFT_TABLE", "no table", "the name of a table");
    function().refuses_as("NIGHTSHIFT_STARTS_QUEUE", "nightshift-Starts", "an address");
}

fn function() -> Function {
    Function::new("worker", env!("CARGO_BIN_EXE_worker"))
}
