//! Messages for a running job: taken in by its next turn, in the order in which they were accepted.

use serde::{Deserialize, Serialize};

use crate::{
    message::{Content, Message},
    time::Timestamp,
};

/// A message that was accepted for a running job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InboxMessage {
    /// Its place among the job's messages, from 1.
    pub number: u32,
    /// Its id: its sender's, or one that was made for it.
    pub id: String,
    /// What it says.
    pub content: Content,
    /// Whose it is.
    pub by: String,
    /// When it was accepted.
    pub at: Timestamp,
}

impl InboxMessage {
    /// The message as an entry of the conversation.
    pub fn as_message(&self) -> Message {
        Message::User { content: self.content.clone() }
    }
}

/// The messages of a job, by number.
pub type Inbox = Vec<InboxMessage>;

/// Those after the first `taken`, up to the first `known`: what a turn takes in.
pub fn between(inbox: &[InboxMessage], taken: u32, known: u32) -> impl Iterator<Item = &InboxMessage> {
    inbox.iter().filter(move |message| message.number > taken && message.number <= known)
}
