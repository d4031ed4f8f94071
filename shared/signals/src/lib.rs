//! What the system tells those who run it, by name: metrics ([`metric`], [`count`]) and spans ([`trace`]). Here they are
//! said and nothing else: where they go is chosen by each `main` (`startup`), and nothing happens when it chose nothing.
//! The names are an interface, since dashboards and alarms have them: infra/SIGNALS.md has the same table.
//!
//! Nothing of what is said in a job may come here: no prompt, no arguments, no result, no key. A metric's dimensions have
//! few values, whatever callers do: never an id, and no name that a caller chose.

pub mod count;
pub mod metric;
pub mod trace;
