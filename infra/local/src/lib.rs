//! The whole system in one process: the functions' own code on embedded emulators, behind one port. What `cargo run`
//! starts, and what the tests test.

pub mod cli;
mod configured_tools;
mod data_dir;
pub mod demo_model;
pub mod emulator;
mod event_source;
mod gateway;
mod metrics;
mod schedule;
pub mod serve;
pub mod stack;
pub mod terminal;

/// Of whatever links this: a fifth of an embedded system's time is spent in allocating, and this is quicker at it than the C
/// library (tests/bench/README.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
