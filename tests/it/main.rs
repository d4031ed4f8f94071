//! The whole embedded system over real HTTP, on a scripted model.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod acting;
mod budgets;
mod commits;
mod compaction;
mod counterexamples;
mod crash_points;
mod events;
mod in_process;
mod large_things;
mod many_events;
mod people;
mod reading;
mod remote_tools;
mod requests;
mod restart;
mod simulation;
mod starting;
mod streaming;
mod sweeping;
mod tidy;
mod tool_calls;
mod turns;
mod upgrade;
mod upstream;
mod workflow_limits;
mod workflows;
