//! What those who run the system are told. A process of its own: logs, metrics and spans belong to the whole process, so
//! these tests take turns.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod counted;
mod listening;
mod secrets;
mod traced;
