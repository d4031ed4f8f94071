//! What a job is. Pure: no IO, no clock, no randomness, no async, nothing of AWS; every rule of the protocol that can be
//! decided from data is decided here, so that it can be tested by the million.
//!
//! In reading order: [`id`] and [`time`]; [`message`], [`tool_call`], [`usage`], [`price`] and [`answer`], what is said and done; [`inbox`],
//! [`input_request`], [`approval`] and [`budget`], where people come in;
//! [`lane`] and [`job`], where the rules are; [`turn`] and [`so_far`], what turns add up to; [`conversation`], what the model
//! is told, [`tokens`] and [`compaction`], how that is kept short; [`workflow`], graphs of such conversations; [`event`] and [`replay`], what viewers see; [`continuation`], [`retry`],
//! [`sealed`], [`schema`], [`trace`] and [`limits`].

pub mod answer;
pub mod approval;
pub mod asked;
pub mod budget;
pub mod canonical;
pub mod compaction;
pub mod continuation;
pub mod conversation;
pub mod event;
pub mod id;
pub mod inbox;
pub mod input_request;
pub mod job;
pub mod lane;
pub mod limits;
pub mod message;
pub mod price;
pub mod replay;
pub mod retry;
pub mod schema;
pub mod sealed;
pub mod so_far;
pub mod time;
pub mod tokens;
pub mod tool_call;
pub mod trace;
pub mod turn;
pub mod usage;
pub mod workflow;
