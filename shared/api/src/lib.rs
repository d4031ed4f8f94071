//! What callers see: requests, answers, errors, frames of the stream, and the opaque tokens among them. The page that
//! fixes all of it is API.md. Nothing here reads or writes anything: no store, no queue, no engine, no clock.
//!
//! In reading order: [`paths`]; [`user`], who asks; [`job_request`] and [`idempotency`], how a job is started;
//! [`job_view`] and [`page`], how it is read; [`workflow_view`]; [`act_request`] and [`schema`], how it is acted
//! on; [`event_view`], [`cursor`], [`sse`], [`stream_token`] and [`address`], how it is
//! followed; [`error`] and [`request_id`], what went wrong and in which request; [`openapi`], all of it for machines.

pub mod act_request;
pub mod address;
mod answer_size;
pub mod cursor;
pub mod error;
pub mod event_view;
pub mod idempotency;
pub mod job_request;
pub mod job_view;
mod members;
pub mod openapi;
pub mod page;
pub mod paths;
pub mod request_id;
pub mod schema;
pub mod sse;
pub mod stream_token;
pub mod user;
pub mod workflow_view;
