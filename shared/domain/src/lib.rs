//! What a job is. Pure: no IO, no clock, no randomness, no async, nothing of AWS; every rule of the protocol that can be
//! decided from data is decided here, so that it can be tested by the million.
//!
//! In reading order: [`id`], [`time`], [`message`], [`tool_call`], [`usage`], [`limits`], [`lane`], [`job`], [`event`],
//! [`retry`].

pub mod id;
pub mod message;
pub mod time;
pub mod tool_call;
pub mod usage;
