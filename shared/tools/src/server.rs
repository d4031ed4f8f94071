//! Tools that are known only when their server is asked: which of them a job gets, and under which names.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    approval::ApprovalRule,
    job::{ToolRef, served_name},
    tool_call::{Replay, ToolSpec},
};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time;

use crate::{
    RegisterError, RunsOn, Source, Tool, ToolContext, ToolError, ToolRegistry, ToolReply, limits::LIST_TIMEOUT,
};

/// Where tools come from that are known only when it is asked: an MCP server.
#[async_trait]
pub trait ToolServer: Send + Sync {
    /// Its tools, as it has listed them just now or lately.
    ///
    /// # Errors
    /// When it does not answer; the cause is for the log.
    async fn tools(&self) -> Result<Vec<Arc<dyn Tool>>, Source>;
}

/// The servers of a deployment, by name.
#[derive(Clone, Default)]
pub(crate) struct Servers(pub(crate) Arc<BTreeMap<String, Arc<dyn ToolServer>>>);

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl ToolRegistry {
    /// Adds a server of tools, or takes another's place. Its tools are not among those that are listed: a job that names
    /// the server gets them by [`Self::add_served`].
    pub fn register_server(&mut self, name: &str, server: impl ToolServer + 'static) {
        Arc::make_mut(&mut self.servers.0).insert(name.to_owned(), Arc::new(server));
    }

    /// The servers' names.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.0.keys().map(String::as_str)
    }

    /// Switches off a server's tool, by `server__tool`, under whatever name a job has it.
    pub(crate) fn switch_off_served(&mut self, name: &str) {
        Arc::make_mut(&mut self.served_off).insert(as_name(name));
    }

    /// Registers the tools of the servers that a job names, in the job's own copy of the registry; answers with their
    /// names. A server that does not answer, within ten seconds, leaves a hole that [`Self::absent`] knows of: the job
    /// goes on without its tools.
    pub async fn add_served(&mut self, wanted: &[ToolRef]) -> Vec<String> {
        let asked = wanted.iter().filter_map(|tool| match tool {
            ToolRef::Mcp { server, tools } => Some((server, tools)),
            ToolRef::Registered { .. } | ToolRef::Client { .. } => None,
        });
        let servers = Arc::clone(&self.servers.0);
        let lists = join_all(asked.map(|(name, subset)| {
            let server = servers.get(name).cloned();
            async move { (name, subset, list(name, server).await) }
        }))
        .await;
        let mut added = Vec::new();
        for (server, subset, tools) in lists {
            let Some(tools) = tools else {
                self.absent.push(server.clone());
                continue;
            };
            for tool in tools {
                let own_name = tool.spec().name;
                if subset.as_ref().is_some_and(|subset| !subset.contains(&own_name)) {
                    continue;
                }
                let whole_name = as_name(&format!("{server}__{own_name}"));
                let mut name = as_name(&served_name(wanted, server, &own_name));
                if self.get(&name).is_some() {
                    // One of the deployment's, which the job does not name.
                    name.clone_from(&whole_name);
                }
                if let Err(error) = self.register(Served { name: name.clone(), tool }) {
                    log_left_out(server, &own_name, &error);
                    continue;
                }
                if self.served_off.contains(&whole_name) {
                    self.set_enabled(&name, false);
                }
                added.push(name);
            }
        }
        added
    }

    /// Servers that did not answer when their tools were asked for.
    pub fn absent(&self) -> &[String] {
        &self.absent
    }
}

async fn list(name: &str, server: Option<Arc<dyn ToolServer>>) -> Option<Vec<Arc<dyn Tool>>> {
    let answer = match server {
        None => Err("the deployment has no such server".into()),
        Some(server) => match time::timeout(LIST_TIMEOUT, server.tools()).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(elapsed.into()),
        },
    };
    answer
        .inspect_err(|error| {
            tracing::warn!(server.name = name, error = &**error as &dyn std::error::Error, "no tools were listed");
        })
        .ok()
}

fn log_left_out(server: &str, tool: &str, error: &RegisterError) {
    let tool = tool.get(..tool.floor_char_boundary(64));
    let error = error as &dyn std::error::Error;
    tracing::warn!(server.name = server, tool.name = tool, error, "a tool of a server is left out");
}

/// Servers may name their tools as models cannot.
fn as_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.chars().take(64).map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// A server's tool under the name that it has in a job.
struct Served {
    name: String,
    tool: Arc<dyn Tool>,
}

#[async_trait]
impl Tool for Served {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: self.name.clone(), ..self.tool.spec() }
    }

    fn replay(&self) -> Replay {
        self.tool.replay()
    }

    fn timeout(&self) -> Duration {
        self.tool.timeout()
    }

    fn approval(&self) -> ApprovalRule {
        self.tool.approval()
    }

    fn runs_on(&self) -> RunsOn {
        self.tool.runs_on()
    }

    async fn call(&self, arguments: Value, context: &ToolContext) -> Result<ToolReply, ToolError> {
        self.tool.call(arguments, context).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{builtin::builtin, declared::Declared};

    struct Lists(&'static [&'static str]);

    #[async_trait]
    impl ToolServer for Lists {
        async fn tools(&self) -> Result<Vec<Arc<dyn Tool>>, Source> {
            let spec = |name: &str| ToolSpec {
                name: name.to_owned(),
                description: "A server's.".to_owned(),
                parameters: json!({"type": "object"}),
            };
            let tool =
                |name| Arc::new(Declared::new(spec(name), Replay::Safe, Duration::from_secs(1))) as Arc<dyn Tool>;
            Ok(self.0.iter().map(|&name| tool(name)).collect())
        }
    }

    struct Silent;

    #[async_trait]
    impl ToolServer for Silent {
        async fn tools(&self) -> Result<Vec<Arc<dyn Tool>>, Source> {
            std::future::pending().await
        }
    }

    fn mcp(server: &str, tools: Option<&[&str]>) -> ToolRef {
        let tools = tools.map(|tools| tools.iter().map(|&tool| tool.to_owned()).collect());
        ToolRef::Mcp { server: server.to_owned(), tools }
    }

    fn registry() -> ToolRegistry {
        let mut registry = builtin(Arc::new(|| domain::time::Timestamp::MIN));
        registry.register_server("a", Lists(&["calculate", "search", "not a name!"]));
        registry.register_server("b", Lists(&["search", "orders"]));
        registry.register_server("silent", Silent);
        registry
    }

    #[tokio::test]
    async fn a_servers_tools_are_added_and_prefixed_where_names_collide() {
        let calculate = ToolRef::Registered { name: "calculate".to_owned() };
        let mut alone = registry();
        let added = alone.add_served(&[calculate, mcp("a", None)]).await;
        assert_eq!(added, ["a__calculate", "search", "not_a_name_"]);
        assert_eq!(alone.replay("search"), Replay::Safe);
        let mut two = registry();
        assert_eq!(
            two.add_served(&[mcp("a", Some(&["search"])), mcp("b", Some(&["search", "orders"]))]).await,
            ["a__search", "b__search", "orders"]
        );
    }

    #[tokio::test]
    async fn a_name_that_the_deployment_has_and_the_job_does_not_name_stays_the_deployments() {
        let mut registry = registry();
        assert_eq!(registry.add_served(&[mcp("a", Some(&["calculate"]))]).await, ["a__calculate"]);
        assert_ne!(registry.get("calculate").unwrap().spec().description, "A server's.");
    }

    #[tokio::test]
    async fn a_servers_tool_is_off_under_whatever_name_a_job_has_it_r98() {
        let mut registry = registry();
        registry.switch_off_served("b__orders");
        registry.switch_off_served("a__not a name!");
        for wanted in [vec![mcp("b", Some(&["orders"]))], vec![mcp("a", None), mcp("b", None)]] {
            let mut job = registry.clone();
            let added = job.add_served(&wanted).await;
            let off: Vec<&String> = added.iter().filter(|name| !job.get(name).unwrap().is_enabled()).collect();
            let expected: &[&str] = if wanted.len() == 1 { &["orders"] } else { &["a__not_a_name_", "b__orders"] };
            assert_eq!(off, expected);
            let told = job.check(off[0], "{}", &added).err().unwrap().for_model();
            assert!(told.contains("is switched off"), "{told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_in_ten_seconds_is_absent_and_the_others_are_not() {
        let mut registry = registry();
        let added = registry.add_served(&[mcp("silent", None), mcp("b", Some(&["orders"])), mcp("gone", None)]).await;
        assert_eq!(added, ["b__orders"], "those that are absent may have such a tool");
        assert_eq!(registry.absent(), ["silent", "gone"]);
        let outcome = registry.check("look", "{}", &added).err().unwrap();
        let told = outcome.for_model();
        assert!(told.contains("available: b__orders. The tools of `silent`, `gone` are missing for now"), "{told}");
    }
}
