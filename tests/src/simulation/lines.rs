//! The two queues, as bad as SQS may be: what was sent is delivered in any order, more than once, late or (as when its
//! sender had died) not at all.

use std::time::Duration;

use super::random::Random;

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: u64,
    pub(super) line: String,
    pub(super) body: String,
    pub(super) visible_at: Duration,
    pub(super) received: u32,
}

/// Both queues.
#[derive(Debug, Default)]
pub(super) struct Lines {
    messages: Vec<Message>,
    sent: u64,
}

impl Lines {
    pub(super) fn send(&mut self, line: &str, body: &str, visible_at: Duration) {
        self.sent += 1;
        let (line, body) = (line.to_owned(), body.to_owned());
        self.messages.push(Message { id: self.sent, line, body, visible_at, received: 0 });
    }

    /// Delivers one of those that are visible, whichever; it is hidden for as long as the template says.
    pub(super) fn receive(&mut self, now: Duration, random: &mut Random) -> Option<Message> {
        let mut visible: Vec<&mut Message> = self.messages.iter_mut().filter(|m| m.visible_at <= now).collect();
        if visible.is_empty() {
            return None;
        }
        let n = usize::try_from(random.below(visible.len() as u64)).unwrap();
        let message = &mut visible[n];
        message.received += 1;
        message.visible_at = now + Duration::from_secs(900);
        Some(message.clone())
    }

    /// Hides a message; whether it is there. A handle is good for its own delivery only.
    pub(super) fn hide(&mut self, handle: &str, until: Duration) -> bool {
        let found = self.messages.iter_mut().find(|m| handle_of(m) == handle);
        found.map(|m| m.visible_at = until).is_some()
    }

    pub(super) fn delete(&mut self, handle: &str) {
        self.messages.retain(|m| handle_of(m) != handle);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many messages were sent.
    pub(super) fn n_sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.messages.iter().map(|m| m.visible_at).min()
    }
}

/// What identifies a delivery.
pub(super) fn handle_of(message: &Message) -> String {
    format!("{}/{}", message.id, message.received)
}
