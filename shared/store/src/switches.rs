//! Switches that an operator turns: one item, read rarely.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;

use crate::{
    Store,
    error::Error,
    item::{FORMAT, Item, n},
    key::Key,
    write::Write,
};

/// How long a process believes what it has read.
const BELIEVED_FOR: Duration = Duration::from_secs(5);

/// What is switched off for now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Switches {
    /// No turn begins; those under way are finished. Everything owed stays recorded, and goes on when this is off.
    pub turns_paused: bool,
    /// No new job is accepted.
    pub jobs_paused: bool,
}

/// What a process has last read.
#[derive(Debug, Default)]
pub(crate) struct Believed(Mutex<Option<(Instant, Switches)>>);

impl Store {
    /// The switches, as they were at most five seconds ago.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn switches(&self) -> Result<Switches, Error> {
        let believed = *self.switches.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, switches)) = believed
            && read.elapsed() < BELIEVED_FOR
        {
            return Ok(switches);
        }
        let item = self.get(Key::switches(), false).await?.unwrap_or_default();
        let switches =
            Switches { turns_paused: is_on(&item, "turns_paused"), jobs_paused: is_on(&item, "jobs_paused") };
        *self.switches.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), switches));
        Ok(switches)
    }

    /// Turns the switches. Every process follows within five seconds.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn switch(&self, switches: Switches) -> Result<(), Error> {
        let on = AttributeValue::Bool;
        let write = Write::update(
            Key::switches(),
            "SET #turns_paused = :turns, #jobs_paused = :jobs, #v = :v",
            [(":turns", on(switches.turns_paused)), (":jobs", on(switches.jobs_paused)), (":v", n(FORMAT))],
        );
        self.write(write).await?;
        *self.switches.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

fn is_on(item: &Item, name: &str) -> bool {
    item.get(name).and_then(|value| value.as_bool().ok()).copied().unwrap_or(false)
}
