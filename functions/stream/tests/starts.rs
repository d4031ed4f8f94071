//! The binary, as Lambda starts it.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../../../tests/starts.rs"]
mod starts;

use starts::Function;

#[test]
fn it_asks_for_its_first_invocation_and_without_a_variable_it_names_that() {
    function().starts_with_its_variables_and_not_without_one(&["NIGHTSHIFT_LOG", "NIGHTSHIFT_METRICS_NAMESPACE"]);
}

#[test]
fn a_variable_that_is_wrong_is_named_with_its_rule() {
    function().refuses_as("NIGHTSHIFT_LOG", "engine=loud", "a filter");
    function().refuses_as("NIGHTSHIFT_STREAM_TOKEN_KEY", "hunter2", "bytes");
    function().refuses_as("NIGHTSHIFT_TABLE", "no table", "the name of a table");
}

fn function() -> Function {
    Function::new("stream", env!("CARGO_BIN_EXE_stream"))
}
