//! The `nightshift` command as a process: what cannot be tested inside of one. Here, and not with the other tests of the
//! whole system, since Cargo builds a command only for the tests of its own package.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "seeds and measures are shown, not asserted")]

mod killed;
mod process;
mod two_runs;
mod workflows;
