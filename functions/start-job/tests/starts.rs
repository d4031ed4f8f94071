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
        "NIGHTSHIFT_MODEL",
        "NIGHTSHIFT_TOOLS",
    ]);
}

#[test]
fn a_variable_that_is_wrong_is_named_with_its_rule() {
    function().refuses_as("NIGHTSHIFT_LOG", "engine=loud", "a filter");
    function().refuses_as("NIGHTSHIFT_STREAM_TOKEN_KEY", "hunter2", "bytes");
    function().refuses_as("NIGHTSHIFT_SEALING_KEY", "hunter2", "bytes");
    function().refuses_as("NIGHTSHIFT_MAX_JOBS_PER_USER", "many", "a number from 1 on");
    function().refuses_as("NIGHTSHIFT_TOOLS", "/nowhere/tools.json", "a JSON object");
    function().refuses_as("NIGHTSHIFT_TOOLS", "{\"disabled\": [\"calculater\"]}", "there is no such tool");
    function().refuses_as("NIGHTSHIFT_MAX_JOBS_PER_USER", "0", "a number from 1 on");
    function().refuses_as("NIGHTSHIFT_TABLE", "no table", "the name of a table");
    function().refuses_as("NIGHTSHIFT_REQUESTS_QUEUE", "nightshift-Requests", "an address");
}

fn function() -> Function {
    Function::new("start-job", env!("CARGO_BIN_EXE_start-job"))
}
