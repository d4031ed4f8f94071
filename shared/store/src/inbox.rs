//! Messages for a running job (PROTOCOL: `post message`).

use domain::{
    event::{Event, EventBody, Signature},
    id::{JobId, WriterId},
    inbox::InboxMessage,
    job::{Command, Job, Rejected, Status, after},
    message::Content,
    time::Timestamp,
};

use crate::{
    Store,
    error::{Error, Verdict},
    item::{head_item, input_from_item, message_item, n, s, state_word},
    items_ttl,
    key::{Key, Sort},
    log::put_events,
    write::Write,
};

/// How often a post is tried anew because the job changed meanwhile.
const TRIES: u32 = 16;

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum PostOutcome {
    /// It is accepted, now or when it was sent before: the next turn takes it in.
    Accepted(Box<InboxMessage>),
    /// The job is over.
    Finished(Status),
    /// Another message has this id.
    IdReused,
    /// There is no such job.
    Gone,
}

impl Store {
    /// Accepts a message for a running job, once for its id. It cannot be lost to the job's end: the last commit is under
    /// the condition that no message came in. The log says so in the same transaction. `request`: a fresh name for this attempt to post.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn post(
        &self,
        job: &JobId,
        id: &str,
        content: &Content,
        by: &str,
        request: &WriterId,
        now: Timestamp,
    ) -> Result<PostOutcome, Error> {
        for tried in 0..TRIES {
            let Some((tail, head)) = self.tail(job).await? else { return Ok(PostOutcome::Gone) };
            let before = Job { head, lanes: Default::default() };
            let after = match after(&before, &Command::Post, now, &self.times) {
                Ok(after) => after,
                Err(Rejected::Finished(status)) => {
                    let sent = self.message(job, id).await?;
                    return Ok(sent.map_or(PostOutcome::Finished(status), |sent| same(sent, content)));
                }
                Err(rejected) => return Err(Error::corrupt(job.as_str(), rejected)),
            };
            let message = InboxMessage {
                number: after.head.inbox,
                id: id.to_owned(),
                content: content.clone(),
                by: by.to_owned(),
                at: now,
            };
            let count = Write::change(
                Key::of(job, &Sort::Head),
                &head_item(&before.head, &self.times)?,
                &head_item(&after.head, &self.times)?,
            )
            .when(
                "#state = :state AND #inbox = :inbox AND attribute_not_exists(#deleted)",
                [(":state", s(state_word(&before.head.state))), (":inbox", n(before.head.inbox))],
            );
            let put = Write::put_new(message_item(job, &message, items_ttl(&before.head))?);
            let event = Event {
                number: tail.number + 1,
                at: now,
                origin: None,
                body: EventBody::MessageAdded { message: Box::new(message.clone()) },
            };
            let signed = Signature { writer: request.clone(), count: 1 };
            let told = put_events(job, &[event], &signed, items_ttl(&before.head))?;
            let token = format!("{request}-m{tried}");
            let Err(verdicts) = self.transact(&token, vec![put, count, told]).await? else {
                return Ok(PostOutcome::Accepted(Box::new(message)));
            };
            if let Some(Verdict::Refused(Some(item))) = verdicts.first() {
                return Ok(same(input_from_item(item)?, content));
            }
        }
        Err(Error::Contended)
    }

    async fn message(&self, job: &JobId, id: &str) -> Result<Option<InboxMessage>, Error> {
        self.get(Key::of(job, &Sort::Message(id)), true).await?.map(|item| input_from_item(&item)).transpose()
    }
}

fn same(sent: InboxMessage, content: &Content) -> PostOutcome {
    if sent.content == *content { PostOutcome::Accepted(Box::new(sent)) } else { PostOutcome::IdReused }
}
