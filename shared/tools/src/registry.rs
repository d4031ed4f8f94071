//! The tools that exist, by name: a plain map, built once when a process starts (R77, R102).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use domain::{
    approval::ApprovalRule,
    tool_call::{Replay, ToolCallStatus, ToolErrorPhase, ToolOutcome, ToolSpec},
};

use crate::{
    RunsOn, Tool, ToolContext,
    arguments::{ArgumentSchema, InvalidSchema},
    call::{CheckedCall, Ending, Execution, failed},
    fingerprint::fingerprint,
    limits,
    server::Servers,
};

/// The tools that exist. Cheap to clone; a clone that registers more tools leaves the original as it was, which is how a
/// job gets tools of its own.
#[derive(Debug, Clone, Default)]
pub struct ToolRegistry {
    tools: Arc<BTreeMap<String, RegisteredTool>>,
    pub(crate) servers: Servers,
    /// Tools of the servers that are off, as `server__tool`.
    pub(crate) served_off: Arc<BTreeSet<String>>,
    /// Servers that did not answer when a job's copy was made.
    pub(crate) absent: Vec<String>,
}

impl ToolRegistry {
    /// A registry without tools.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool.
    ///
    /// # Errors
    /// When its name is taken or not a name, or its schema is not a schema of an object.
    pub fn register(&mut self, tool: impl Tool + 'static) -> Result<(), RegisterError> {
        let spec = tool.spec();
        if !is_name(&spec.name) {
            return Err(RegisterError::Name(spec.name.chars().take(64).collect()));
        }
        if self.tools.contains_key(&spec.name) {
            return Err(RegisterError::Taken(spec.name));
        }
        let schema = ArgumentSchema::compile(&spec.parameters)
            .map_err(|source| RegisterError::Schema { name: spec.name.clone(), source })?;
        let name = spec.name.clone();
        let timeout = tool.timeout();
        let registered = RegisteredTool { spec, schema, timeout, enabled: true, tool: Arc::new(tool) };
        Arc::make_mut(&mut self.tools).insert(name, registered);
        Ok(())
    }

    /// Removes a tool; whether there was one.
    pub fn unregister(&mut self, name: &str) -> bool {
        self.tools.contains_key(name) && Arc::make_mut(&mut self.tools).remove(name).is_some()
    }

    /// Switches a tool on or off (R98); whether there is one. A tool that is off is listed and never run.
    pub fn set_enabled(&mut self, name: &str, enabled: bool) -> bool {
        self.change(name, |tool| tool.enabled = enabled)
    }

    /// Gives a tool another time-out than its own (R45); whether there is one.
    pub fn set_timeout(&mut self, name: &str, timeout: Duration) -> bool {
        self.change(name, |tool| tool.timeout = timeout)
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut RegisteredTool)) -> bool {
        self.tools.contains_key(name) && Arc::make_mut(&mut self.tools).get_mut(name).map(change).is_some()
    }

    /// The tool of this name.
    pub fn get(&self, name: &str) -> Option<&RegisteredTool> {
        self.tools.get(name)
    }

    /// Every tool, by name, those that are off included.
    pub fn list(&self) -> impl Iterator<Item = &RegisteredTool> {
        self.tools.values()
    }

    /// The definitions of the tools that are on, by name.
    pub fn enabled_specs(&self) -> Vec<ToolSpec> {
        self.list().filter(|tool| tool.enabled).map(|tool| tool.spec.clone()).collect()
    }

    /// What may be done with a call of this tool that was cut off; never again, when there is no such tool.
    pub fn replay(&self, name: &str) -> Replay {
        self.get(name).map_or(Replay::Never, RegisteredTool::replay)
    }

    /// Runs a call that the model asked for; `allowed` are the tools that its job names (R179). Whatever happens is an
    /// outcome that the model can read: this neither fails nor panics, and it ends by the context's deadline.
    pub async fn execute(&self, name: &str, arguments: &str, context: &ToolContext, allowed: &[String]) -> Execution {
        let execution = match self.check(name, arguments, allowed) {
            Ok(call) => call.run(context).await,
            Err(outcome) => Execution::not_run(outcome),
        };
        log(self.get(name), name, arguments, context, &execution);
        execution
    }

    /// Decides whether a call can be run, without running it.
    ///
    /// # Errors
    /// With the outcome of a call that cannot be run: no such tool, not the job's, off, the caller's to run, or invalid
    /// arguments.
    pub fn check(&self, name: &str, arguments: &str, allowed: &[String]) -> Result<CheckedCall, ToolOutcome> {
        let Some(registered) = self.get(name) else {
            return Err(invalid(self.not_found(name, allowed)));
        };
        if !allowed.iter().any(|allowed| allowed == name) {
            return Err(ToolOutcome::Skipped(format!("Tool `{name}` is not one of this job's tools")));
        }
        if !registered.enabled {
            return Err(ToolOutcome::Skipped(format!("Tool `{name}` is switched off")));
        }
        let arguments = registered.schema.read(name, arguments).map_err(invalid)?;
        if registered.runs_on() == RunsOn::Client {
            return Err(ToolOutcome::Skipped(limits::CLIENT_ONLY.to_owned()));
        }
        Ok(CheckedCall::new(registered, arguments))
    }

    fn not_found(&self, name: &str, allowed: &[String]) -> String {
        let name: String = name.chars().take(64).collect();
        let available: Vec<&str> = self
            .list()
            .filter(|tool| tool.enabled && allowed.contains(&tool.spec.name))
            .map(RegisteredTool::name)
            .collect();
        let missing = if self.absent.is_empty() {
            String::new()
        } else {
            let servers: Vec<String> = self.absent.iter().map(|server| format!("`{server}`")).collect();
            format!(". The tools of {} are missing for now: the server does not answer", servers.join(", "))
        };
        if available.is_empty() {
            format!("Tool `{name}` does not exist, and this job has no tools{missing}")
        } else {
            format!("Tool `{name}` does not exist; available: {}{missing}", available.join(", "))
        }
    }
}

/// Sizes and a fingerprint, never arguments or results, and no name that a model made up (R131, R210).
fn log(known: Option<&RegisteredTool>, name: &str, arguments: &str, context: &ToolContext, execution: &Execution) {
    let broken = match &execution.ending {
        Ending::Fatal(source) => Some(source),
        Ending::Settled | Ending::Cancelled => None,
    };
    let duration_ms = u64::try_from(execution.execution_time.as_millis()).unwrap_or(u64::MAX);
    macro_rules! line {
        ($level:ident $text:literal) => {
            tracing::$level!(
                job.id = %context.job,
                turn.number = context.turn,
                tool.name = known.map(RegisteredTool::name),
                tool.outcome = execution.outcome.word(),
                tool.attempts = execution.attempts,
                duration_ms,
                arguments.bytes = arguments.len(),
                arguments.fingerprint = fingerprint(name, arguments),
                error = broken.map(|source| source.as_ref() as &dyn std::error::Error),
                $text
            )
        };
    }
    match execution.outcome.status() {
        ToolCallStatus::Completed => line!(info "tool call completed"),
        ToolCallStatus::Skipped => line!(info "tool call not run"),
        _ => line!(warn "tool call failed"),
    }
}

fn invalid(message: String) -> ToolOutcome {
    failed(ToolErrorPhase::Validation, message)
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// A tool in the registry, with what was found out about it when it was registered.
#[derive(Clone)]
pub struct RegisteredTool {
    pub(crate) tool: Arc<dyn Tool>,
    pub(crate) timeout: Duration,
    spec: ToolSpec,
    schema: ArgumentSchema,
    enabled: bool,
}

impl RegisteredTool {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Name, description and the schema of the arguments.
    pub fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// What may be done with a call that was cut off.
    pub fn replay(&self) -> Replay {
        self.tool.replay()
    }

    /// How long a call may run.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Which calls need a person's approval, unless the job says otherwise.
    pub fn approval(&self) -> ApprovalRule {
        self.tool.approval()
    }

    /// Where it can run.
    pub fn runs_on(&self) -> RunsOn {
        self.tool.runs_on()
    }

    /// Whether it is on.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }
}

impl fmt::Debug for RegisteredTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredTool")
            .field("name", &self.spec.name)
            .field("timeout", &self.timeout)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// Why a tool cannot be registered, or not be switched off.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Its name is not a name.
    #[error("`{0}` is not a tool's name: letters, digits, `_` and `-`, at most 64")]
    Name(String),
    /// There is one of its name.
    #[error("there is a tool `{0}` already")]
    Taken(String),
    /// It is to be off, and there is none of its name.
    #[error("`disabled` names `{0}`, and there is no such tool")]
    Absent(String),
    /// Its schema cannot be used.
    #[error("the arguments' schema of tool `{name}` cannot be used")]
    Schema {
        /// The tool.
        name: String,
        /// What is wrong with it.
        source: InvalidSchema,
    },
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use serde_json::{Value, json};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{ToolError, ToolReply};

    /// Says its name, or panics.
    struct Says(&'static str, Value);

    #[async_trait]
    impl Tool for Says {
        fn spec(&self) -> ToolSpec {
            ToolSpec { name: self.0.to_owned(), description: "Says its name.".to_owned(), parameters: self.1.clone() }
        }

        fn replay(&self) -> Replay {
            Replay::Safe
        }

        async fn call(&self, _: Value, _: &ToolContext) -> Result<ToolReply, ToolError> {
            assert_ne!(self.0, "panics");
            Ok(ToolReply::text(self.0))
        }
    }

    fn says(name: &'static str) -> Says {
        Says(name, json!({"type": "object"}))
    }

    fn context() -> ToolContext {
        ToolContext {
            user: "ann".parse().unwrap(),
            thread: None,
            job: "job_01M839RBJ60QB9X3PRWCTHDWN3".parse().unwrap(),
            lane: domain::id::LaneName::main(),
            turn: 1,
            call: "call_0".parse().unwrap(),
            cancel: CancellationToken::new(),
            deadline: Instant::now() + Duration::from_secs(60),
        }
    }

    async fn outcome(registry: &ToolRegistry, name: &str, context: &ToolContext) -> ToolOutcome {
        let allowed = ["one", "two", "panics"].map(str::to_owned);
        registry.execute(name, "", context, &allowed).await.outcome
    }

    fn message(outcome: ToolOutcome) -> String {
        match outcome {
            ToolOutcome::Error(error) => error.message,
            ToolOutcome::Skipped(message) => message,
            other => panic!("{other:?}"),
        }
    }

    /// R77, R98, R102.
    #[tokio::test]
    async fn a_registry_registers_gets_lists_runs_and_forgets() {
        let mut registry = ToolRegistry::new();
        registry.register(says("two")).unwrap();
        registry.register(says("one")).unwrap();
        let original = registry.clone();
        let names = |registry: &ToolRegistry| -> Vec<String> {
            registry.list().map(RegisteredTool::name).map(str::to_owned).collect()
        };
        assert_eq!(names(&registry), ["one", "two"]);
        assert!(registry.set_enabled("one", false) && registry.set_timeout("two", Duration::from_secs(7)));
        assert!(!registry.set_enabled("none", false) && !registry.set_timeout("none", Duration::ZERO));
        assert_eq!(registry.get("two").map(RegisteredTool::timeout), Some(Duration::from_secs(7)));
        assert_eq!(registry.get("one").map(RegisteredTool::is_enabled), Some(false));
        assert_eq!(registry.enabled_specs().into_iter().map(|spec| spec.name).collect::<Vec<_>>(), ["two"]);
        assert_eq!((registry.replay("two"), registry.replay("none")), (Replay::Safe, Replay::Never));
        assert!(matches!(outcome(&registry, "two", &context()).await, ToolOutcome::Completed(text) if text == "two"));
        assert_eq!(message(outcome(&registry, "one", &context()).await), "Tool `one` is switched off");
        assert!(registry.unregister("two") && !registry.unregister("two"));
        assert_eq!((names(&registry), names(&original)), (vec!["one".to_owned()], vec!["one".into(), "two".into()]));
    }

    #[test]
    fn what_is_no_tool_is_not_registered() {
        let mut registry = ToolRegistry::new();
        registry.register(says("one")).unwrap();
        let why = |registry: &mut ToolRegistry, tool: Says| {
            let error = registry.register(tool).unwrap_err();
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            format!("{error}{source}")
        };
        assert_eq!(why(&mut registry, says("one")), "there is a tool `one` already");
        for name in ["", "a b", "ä", "x".repeat(65).leak()] {
            assert!(why(&mut registry, says(name)).ends_with("letters, digits, `_` and `-`, at most 64"), "{name}");
        }
        let no_object = why(&mut registry, Says("two", json!({"type": "string"})));
        assert!(no_object.ends_with("it must have `\"type\": \"object\"`"), "{no_object}");
        let no_schema = why(&mut registry, Says("two", json!({"type": "object", "required": 1})));
        assert!(no_schema.contains("it is not a JSON schema"), "{no_schema}");
        let elsewhere = json!({"type": "object", "properties": {"x": {"$ref": "http://127.0.0.1:1/x"}}});
        assert!(why(&mut registry, Says("two", elsewhere)).contains("it is not a JSON schema"));
    }

    /// R11: what the model reads of a tool that there is not.
    #[tokio::test]
    async fn a_tool_that_does_not_exist_is_told_with_those_that_do() {
        let mut registry = ToolRegistry::new();
        let none = message(outcome(&registry, "three", &context()).await);
        assert_eq!(none, "Tool `three` does not exist, and this job has no tools");
        registry.absent = vec!["wiki".to_owned()];
        registry.register(says("one")).unwrap();
        let some = message(outcome(&registry, "three", &context()).await);
        assert!(
            some.starts_with("Tool `three` does not exist; available: one. The tools of `wiki` are missing"),
            "{some}"
        );
        let foreign = registry.execute("one", "", &context(), &[]).await.outcome;
        assert_eq!(message(foreign), "Tool `one` is not one of this job's tools");
    }

    #[tokio::test]
    async fn a_call_that_may_not_begin_or_that_panics_is_an_outcome() {
        let mut registry = ToolRegistry::new();
        registry.register(says("one")).unwrap();
        registry.register(says("panics")).unwrap();
        let cancelled = context();
        cancelled.cancel.cancel();
        assert_eq!(message(outcome(&registry, "one", &cancelled).await), "Cancelled before the tool was started");
        let late = ToolContext { deadline: Instant::now(), ..context() };
        let told = message(outcome(&registry, "one", &late).await);
        assert_eq!(told, "Tool `one` was not started: the turn has no time left");
        assert!(matches!(outcome(&registry, "panics", &context()).await, ToolOutcome::Error(_)));
        let shown = format!("{registry:?}");
        assert!(shown.contains("RegisteredTool { name: \"panics\""), "{shown}");
    }
}
