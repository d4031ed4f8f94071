//! The binary, as Lambda starts it.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../../../tests/starts.rs"]
mod starts;

use starts::Function;

#[test]
fn it_asks_for_its_first_invocation_and_without_a_variable_it_names_that() {
    function().starts_with_its_variables_and_not_without_one(&[
        "NIGHTSHIFT_LOG",
        "NIGHTSHIFT_CONSOLE_EMBEDDERS",
        "NIGHTSHIFT_TOOLS",
    ]);
}

#[test]
fn a_variable_that_is_wrong_is_named_with_its_rule() {
    function().refuses_as("NIGHTSHIFT_LOG", "engine=loud", "a filter");
    function().refuses_as("NIGHTSHIFT_STREAM_TOKEN_KEY", "hunter2", "bytes");
    function().refuses_as("NIGHTSHIFT_TABLE", "no table", "the name of a table");
    function().refuses_as("NIGHTSHIFT_CONTINUATIONS_QUEUE", "nightshift-Continuations", "an address");
    function().refuses_as("NIGHTSHIFT_STREAM_URL", "stream.example", "an address");
    function().refuses_as("NIGHTSHIFT_TOOLS", "{\"tools\": [{}]}", "cannot be used");
    function().refuses_as("NIGHTSHIFT_TOOLS", "{\"disabled\": [\"calculater\"]}", "there is no such tool");
}

fn function() -> Function {
    Function::new("jobs", env!("CARGO_BIN_EXE_jobs"))
}
