//! The tools that every deployment has. Each is a file of its own. Those of [`builtin`] need neither a secret nor a
//! network; of [`http_get`] and [`web_search`] this is the definition, and `remote-tools` has the code. Processes that run
//! none take [`declared`], which links neither the sums nor the time zones.

mod calculate;
mod get_current_time;
pub mod http_get;
pub mod web_search;

use std::sync::Arc;

use domain::{time::Timestamp, tool_call::Replay};

use self::{calculate::Calculate, get_current_time::GetCurrentTime};
use crate::{Declared, RegisterError, ToolRegistry};

/// What time it is. Tools do not read the system's clock by themselves, so that tests can set it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A registry with every built-in tool.
pub fn builtin(clock: Clock) -> ToolRegistry {
    #[expect(clippy::expect_used, reason = "names and schemas are constants, and a test registers them")]
    register_all(clock).expect("the built-in tools have valid, different names and valid schemas")
}

/// The same by definition alone, for processes that name tools and run none. A test compares the two.
pub fn declared() -> ToolRegistry {
    #[expect(clippy::expect_used, reason = "names and schemas are constants, and a test registers them")]
    declare_all().expect("the built-in tools have valid, different names and valid schemas")
}

/// One line per tool.
fn register_all(clock: Clock) -> Result<ToolRegistry, RegisterError> {
    let mut registry = ToolRegistry::new();
    registry.register(GetCurrentTime::new(clock))?;
    registry.register(Calculate)?;
    Ok(registry)
}

/// One line per tool.
fn declare_all() -> Result<ToolRegistry, RegisterError> {
    let mut registry = ToolRegistry::new();
    registry.register(Declared::of::<GetCurrentTime>(Replay::Safe))?;
    registry.register(Declared::of::<Calculate>(Replay::Safe))?;
    Ok(registry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RegisteredTool;

    #[test]
    fn what_is_declared_is_what_is_registered() {
        let all = |registry: &ToolRegistry| -> Vec<_> {
            let facts = |tool: &RegisteredTool| {
                (tool.spec().clone(), tool.replay(), tool.timeout(), tool.approval(), tool.runs_on(), tool.is_enabled())
            };
            registry.list().map(facts).collect()
        };
        assert_eq!(all(&declared()), all(&builtin(Arc::new(|| Timestamp::MIN))));
    }

    #[test]
    fn every_built_in_tool_can_be_registered_and_says_what_it_is_for() {
        let registry = builtin(Arc::new(|| Timestamp::MIN));
        let names: Vec<&str> = registry.list().map(RegisteredTool::name).collect();
        assert_eq!(names, ["calculate", "get_current_time"]);
        for tool in registry.list() {
            assert!(tool.spec().description.len() > 40, "{tool:?}");
            assert_eq!(tool.spec().parameters["type"], "object");
            for (name, schema) in tool.spec().parameters["properties"].as_object().expect("an object schema") {
                assert!(schema["description"].is_string(), "{tool:?}: `{name}` is not described");
            }
        }
    }
}
