//! Tools that behave badly, and well.

use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use local::emulator::fault::Gate;
use tools::{RunsOn, ToolContext, ToolError, ToolRegistry, ToolReply, TypedTool};

/// All of them.
pub const NAMES: &[&str] = &[
    "get_current_time",
    "calculate",
    "add",
    "throws",
    "is_broken",
    "panics",
    "hangs",
    "wants_a_number",
    "on_the_phone",
    "answers_60_kb",
    "answers_250_kb",
    "waits_at_the_gate",
];

/// A registry with all of them.
pub fn registry() -> ToolRegistry {
    let mut registry = tools::builtin::builtin(Arc::new(|| domain::time::Timestamp::from_millis(1_763_800_000_000)));
    registry.register(Add).unwrap();
    registry.register(Throws).unwrap();
    registry.register(IsBroken).unwrap();
    registry.register(Panics).unwrap();
    registry.register(Hangs).unwrap();
    registry.register(WantsANumber).unwrap();
    registry.register(OnThePhone).unwrap();
    registry.register(Answers60Kb).unwrap();
    registry.register(Answers250Kb).unwrap();
    registry.register(WaitsAtTheGate).unwrap();
    registry
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

macro_rules! tool {
    ($name:ident, $tool:literal, $arguments:ty, $timeout:expr, $runs_on:expr, |$given:ident, $context:ident| $body:expr) => {
        struct $name;

        #[async_trait::async_trait]
        impl TypedTool for $name {
            type Arguments = $arguments;
            const NAME: &'static str = $tool;
            const DESCRIPTION: &'static str = "A tool for tests.";

            fn timeout(&self) -> Duration {
                $timeout
            }

            fn runs_on(&self) -> RunsOn {
                $runs_on
            }

            async fn call(&self, $given: $arguments, $context: &ToolContext) -> Result<ToolReply, ToolError> {
                $body
            }
        }
    };
}

const LONG: Duration = Duration::from_secs(10);

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Two {
    a: i64,
    b: i64,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct One {
    n: i64,
}

tool!(Add, "add", Two, LONG, RunsOn::Server, |two, _context| Ok(ToolReply::text((two.a + two.b).to_string())));
tool!(Throws, "throws", Nothing, LONG, RunsOn::Server, |_given, _context| {
    Err(ToolError::RespondToModel("the printer is on fire".to_owned()))
});
tool!(IsBroken, "is_broken", Nothing, LONG, RunsOn::Server, |_given, _context| {
    Err(ToolError::Fatal("the password hunter2 is wrong".into()))
});
tool!(Panics, "panics", Nothing, LONG, RunsOn::Server, |_given, _context| panic!("as it should"));
tool!(Hangs, "hangs", Nothing, Duration::from_millis(100), RunsOn::Server, |_given, _context| {
    std::future::pending().await
});
tool!(WantsANumber, "wants_a_number", One, LONG, RunsOn::Server, |one, _context| {
    Ok(ToolReply::text(one.n.to_string()))
});
tool!(OnThePhone, "on_the_phone", Nothing, LONG, RunsOn::Client, |_given, _context| {
    Ok(ToolReply::text("never said"))
});
tool!(Answers60Kb, "answers_60_kb", Nothing, LONG, RunsOn::Server, |_given, _context| {
    Ok(ToolReply::text("é".repeat(30_000)))
});

/// What `answers_250_kb` answers: numbers, which packing makes little smaller.
pub fn answer_of_250_kb() -> String {
    let mut text = String::new();
    for n in 0_u64.. {
        if text.len() >= 250_000 {
            break;
        }
        text.push_str(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_string());
    }
    text
}

tool!(Answers250Kb, "answers_250_kb", Nothing, LONG, RunsOn::Server, |_given, _context| {
    Ok(ToolReply::text(answer_of_250_kb()))
});

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Which {
    gate: String,
}

/// Gates by name: a test's own name makes one its own.
static GATES: LazyLock<Mutex<std::collections::HashMap<String, Gate>>> = LazyLock::new(Mutex::default);

/// The gate of this name.
pub fn gate(name: &str) -> Gate {
    GATES.lock().unwrap().entry(name.to_owned()).or_default().clone()
}

tool!(WaitsAtTheGate, "waits_at_the_gate", Which, LONG, RunsOn::Server, |which, _context| {
    gate(&which.gate).pass().await;
    Ok(ToolReply::text("through"))
});
