//! The protocol with one of its rules removed, at the seam: requests are rewritten on their way out, or answered from an
//! earlier moment than they should be. Each of these must be found out by some seed.

use serde_json::{Value, json};

use super::{
    Sim,
    weather::Weather,
    wire::{Answer, Call, partition_of, sort_of},
};
use crate::world::{prune, without_condition};

const FENCE: &str = "(#epoch = :fence_epoch AND #lease.#owner = :fence_owner)";
const ANYTHING: &str = "attribute_exists(#pk)";
const COUNTED: &str = "(attribute_not_exists(#lanes_at_work) OR #lanes_at_work = :at_work)";

/// A rule that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Events overwrite what is there.
    EventsOverwrite,
    /// A claim asks for nothing.
    ClaimUnconditional,
    /// A claim does not ask for the epoch that was read, nor whether the lane is open.
    ClaimIgnoresClosed,
    /// A claim does not ask for the epoch that was read.
    ClaimWithoutEpoch,
    /// The model's answer is recorded without the lease.
    CheckpointUnfenced,
    /// Commits do not ask for the lease.
    CommitUnfenced,
    /// That a tool is started is recorded without the lease (counterexample 12).
    StartedUnfenced,
    /// That a tool is started is recorded without any condition.
    CallsUnconditional,
    /// A call's end is recorded whoever has taken it over.
    FinishUnconditional,
    /// The last commit does not look at the inbox.
    FinalIgnoresInbox,
    /// Ending a job leaves its lanes open (counterexample 3).
    EndLeavesLanesOpen,
    /// The sweeper removes the due time (counterexample 17).
    SweeperClearsDue,
    /// A commit does not record that a continuation is owed.
    ContinuationNotOwed,
    /// The last commit does not record what is owed after it (counterexample 15).
    TerminalNotOwed,
    /// `turn.restarted` takes nothing back.
    RestartVoidsNothing,
    /// `turn.restarted` takes back the recorded answer as well (counterexample 7).
    RestartVoidsEverything,
    /// An append that was refused goes on without the lease.
    AppendWithoutLease,
    /// The tail is read after the claim (counterexample 1).
    TailAfterClaim,
    /// Pauses, answers and ends of lanes do not ask for the head's count.
    HeadUncounted,
    /// An answer leaves the count of those that are missing.
    PendingStays,
}

impl Mutation {
    /// All of them, each with the weather in which its rule is missed.
    pub const ALL: [(Self, Weather); 20] = [
        (Self::EventsOverwrite, Weather::ZOMBIES.aimed_at("Put event#")),
        (Self::ClaimUnconditional, Weather::ZOMBIES.aimed_at("Update lane#main")),
        (Self::ClaimIgnoresClosed, Weather::CANCELLED.aimed_at("Update lane#main")),
        (Self::ClaimWithoutEpoch, Weather::ECHOES),
        (Self::CheckpointUnfenced, Weather::SLEEPWALKERS.aimed_at("#answer")),
        (Self::CommitUnfenced, Weather::ZOMBIES.aimed_at("Update lane#main")),
        (Self::StartedUnfenced, Weather::CANCELLED.aimed_at("#call#")),
        (Self::CallsUnconditional, Weather::ZOMBIES.aimed_at("#call#")),
        (Self::FinishUnconditional, Weather::ZOMBIES.aimed_at("#call#")),
        (Self::FinalIgnoresInbox, Weather::CONVERSATION),
        (Self::EndLeavesLanesOpen, Weather::CANCELLED),
        (Self::SweeperClearsDue, Weather::POST_OFFICE),
        (Self::ContinuationNotOwed, Weather::POST_OFFICE),
        (Self::TerminalNotOwed, Weather::CANCELLED.aimed_at("Put event#")),
        (Self::RestartVoidsNothing, Weather::DEATHS),
        (Self::RestartVoidsEverything, Weather::DEATHS),
        (Self::AppendWithoutLease, Weather::ZOMBIES.aimed_at("Put event#")),
        (Self::TailAfterClaim, Weather::CANCELLED.aimed_at("Put event#")),
        (Self::HeadUncounted, Weather::CROWD.aimed_at("Update head")),
        (Self::PendingStays, Weather::PEOPLE),
    ];

    /// Rewrites a request on its way out.
    pub(super) fn apply(self, call: &mut Call) {
        let token = call.body["ClientRequestToken"].as_str().unwrap_or_default().to_owned();
        let (is_put, is_update) = (call.operation() == "PutItem", call.operation() == "UpdateItem");
        let records_call =
            call.writes().iter().any(|(kind, write)| *kind == "Put" && sort_of(write).contains("#call#"));
        let records_answer = call.writes().iter().any(|(_, write)| sort_of(write).ends_with("#answer"));
        let is_transaction = !is_put && !is_update;
        each_write(call, |kind, write| {
            let sort = sort_of(write).to_owned();
            let condition = write["ConditionExpression"].as_str().unwrap_or_default().to_owned();
            let is_claim = condition.contains("#open = :open AND #turn = :turn");
            match self {
                Self::EventsOverwrite if is_put && sort.starts_with("event#") => set_condition(write, ANYTHING_AT_ALL),
                Self::ClaimUnconditional if is_claim => set_condition(write, ANYTHING),
                Self::ClaimIgnoresClosed if is_claim => {
                    let without = condition.replace("#open = :open AND ", "").replace("AND #epoch = :epoch ", "");
                    set_condition(write, &without);
                }
                Self::ClaimWithoutEpoch if is_claim => {
                    set_condition(write, &condition.replace("AND #epoch = :epoch ", ""));
                }
                Self::CheckpointUnfenced if is_transaction && records_answer => unfence(write, &condition),
                Self::CommitUnfenced if token.contains("-l") => unfence(write, &condition),
                Self::CommitUnfenced if is_update && sets(write, "#turn") && sort.starts_with("lane#") => {
                    unfence(write, &condition);
                }
                Self::StartedUnfenced | Self::CallsUnconditional if is_transaction && records_call => {
                    unfence(write, &condition);
                    if self == Self::CallsUnconditional && kind == "Put" {
                        set_condition(write, ANYTHING_AT_ALL);
                    }
                }
                Self::FinishUnconditional if is_put && records_call => set_condition(write, ANYTHING_AT_ALL),
                Self::FinalIgnoresInbox => {
                    set_condition(write, &condition.replace(" AND #inbox = :inbox", ""));
                }
                Self::SweeperClearsDue if condition.contains("#due_at = :was") => {
                    write["UpdateExpression"] = json!("REMOVE #due_at, #due_shard");
                    write["ExpressionAttributeNames"]["#due_shard"] = json!("due_shard");
                    prune(write);
                }
                Self::ContinuationNotOwed if is_update && sets(write, "#turn") && sort.starts_with("lane#") => {
                    let expression = write["UpdateExpression"].as_str().unwrap_or_default();
                    let kept: Vec<&str> = expression
                        .split_once(" REMOVE ")
                        .map_or(expression, |(set, _)| set)
                        .trim_start_matches("SET ")
                        .trim()
                        .split(", ")
                        .filter(|set| !set.starts_with("#due"))
                        .collect();
                    write["UpdateExpression"] =
                        json!(format!("SET {} REMOVE #lease, #due_at, #due_shard", kept.join(", ")));
                    for name in ["lease", "due_at", "due_shard"] {
                        write["ExpressionAttributeNames"][format!("#{name}")] = json!(name);
                    }
                    prune(write);
                }
                Self::TerminalNotOwed if sort == "head" => {
                    let text = write["ExpressionAttributeValues"].to_string();
                    let text = text.replace(r#""terminal":{"BOOL":true}"#, r#""terminal":{"BOOL":false}"#);
                    write["ExpressionAttributeValues"] = serde_json::from_str(&text).unwrap_or_default();
                }
                Self::HeadUncounted if sort == "head" && condition.contains(COUNTED) => {
                    set_condition(write, &condition.replace(COUNTED, ANYTHING));
                }
                Self::PendingStays if sets(write, "#waits.#pending") => {
                    write["ExpressionAttributeValues"][":left"] =
                        write["ExpressionAttributeValues"][":pending"].clone();
                }
                Self::RestartVoidsNothing => set_restart(write, 1_000_000),
                Self::RestartVoidsEverything => set_restart(write, 0),
                _ => {}
            }
        });
        if self == Self::EndLeavesLanesOpen
            && let Some(items) = call.body["TransactItems"].as_array_mut()
        {
            items.retain(|item| {
                let expression = item["Update"]["UpdateExpression"].as_str().unwrap_or_default();
                !expression.contains("#epoch = #epoch + :one")
            });
        }
    }
}

/// The request as it is carried out.
pub(super) fn at_arrival(sim: &Sim, call: &Call) -> Call {
    let mut call = call.clone();
    if sim.0.mutation != Some(Mutation::TailAfterClaim) || call.operation() != "PutItem" {
        return call;
    }
    let is_first = {
        let mut state = sim.state();
        let being = state.processes.entry(call.process.clone()).or_default();
        call.process.starts_with("worker") && being.claimed.is_some() && !std::mem::replace(&mut being.has_put, true)
    };
    if is_first && sort_of(&call.body).starts_with("event#") {
        let last = sim.table().event_numbers(partition_of(&call.body)).into_iter().max().unwrap_or_default();
        call.body["Item"]["sk"]["S"] = json!(format!("event#{:010}", last + 1));
    }
    call
}

/// After a request was carried out: what a broken reader is told.
pub(super) fn answered(sim: &Sim, call: &Call, answer: Answer) -> Answer {
    let Some(mutation) = sim.0.mutation else { return answer };
    if answer.status == 200 && call.writes().iter().any(|(_, write)| is_claim(write)) {
        let lane =
            call.writes().iter().find(|(_, write)| is_claim(write)).map(|(_, write)| partition_of(write).to_owned());
        let item = lane.and_then(|pk| sim.table().item(&pk, "lane#main"));
        sim.state().processes.entry(call.process.clone()).or_default().claimed = item;
        return answer;
    }
    if call.operation() != "GetItem" || !sort_of(&call.body).starts_with("lane#") {
        return answer;
    }
    let state = sim.state();
    let claimed = state.processes.get(&call.process).and_then(|being| being.claimed.as_ref());
    let told = claimed.filter(|_| mutation == Mutation::AppendWithoutLease);
    told.map_or(answer, |lane| Answer::json(200, &json!({"Item": lane})))
}

fn is_claim(write: &Value) -> bool {
    write["ConditionExpression"]
        .as_str()
        .is_some_and(|condition| condition.contains("#turn = :turn AND #epoch = :epoch"))
}

const ANYTHING_AT_ALL: &str = "";

fn each_write(call: &mut Call, mut change: impl FnMut(&str, &mut Value)) {
    match call.operation().to_owned().as_str() {
        "PutItem" => change("Put", &mut call.body),
        "UpdateItem" => change("Update", &mut call.body),
        "TransactWriteItems" => {
            let items = call.body["TransactItems"].as_array_mut().into_iter().flatten();
            for (kind, write) in items.filter_map(Value::as_object_mut).flatten() {
                change(kind, write);
            }
        }
        _ => {}
    }
}

fn sets(write: &Value, name: &str) -> bool {
    let expression = write["UpdateExpression"].as_str().unwrap_or_default();
    expression.contains(&format!("{name} = "))
}

fn unfence(write: &mut Value, condition: &str) {
    if condition.contains(FENCE) {
        set_condition(write, &condition.replace(FENCE, ANYTHING));
    }
}

fn set_condition(write: &mut Value, condition: &str) {
    if write["ConditionExpression"] == condition {
        return;
    }
    if condition.is_empty() {
        return without_condition(write);
    }
    write["ConditionExpression"] = json!(condition);
    if condition.contains("#pk") {
        write["ExpressionAttributeNames"]["#pk"] = json!("pk");
    }
    prune(write);
}

fn set_restart(write: &mut Value, offset: u64) {
    // It is the first event of its attempt, alone or with what follows.
    let Some(mut written) = write["Item"]["d"]["S"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
    else {
        return;
    };
    let body = if written.is_array() { &mut written[0]["d"] } else { &mut written };
    if body["type"] == "turn.restarted" {
        body["output_offset"] = json!(offset);
        write["Item"]["d"]["S"] = json!(written.to_string());
    }
}
