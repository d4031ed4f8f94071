//! Accepting a job: one transaction, once for an idempotency key.

use std::time::Duration;

use domain::{
    event::{Event, EventBody, JobState, Signature},
    id::{JobId, UserId, WriterId},
    job::{Asker, Head, JobSpec, Status, accept},
    time::Timestamp,
    workflow::Run,
};

use crate::{
    Store,
    error::{Error, Verdict},
    item::{Item, Payload, at, head_item, lane_item, n, s, stamped, text},
    items_ttl,
    key::{Key, Sort},
    log::put_events,
    write::Write,
};

/// How long an empty set of jobs at work is remembered.
const AT_WORK_TTL: Duration = Duration::from_secs(400 * 24 * 3600);

/// How long nothing is started under a key that was called off: longer than a lost start request is on its way.
const CALLED_OFF: Duration = Duration::from_secs(600);
/// Attribute of such a key: until when.
const CALLED_OFF_UNTIL: &str = "called_off_until";

/// Where in the transaction the head and the idempotency key are: a refusal names them by place.
const HEAD_PLACE: usize = 1;
const KEY_PLACE: usize = 2;

/// A key under which a start request may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The caller's key, unique for its user.
    pub key: String,
    /// What the request was about: the same key with another one is a mistake.
    pub fingerprint: String,
}

/// A job to be accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Who asks.
    pub asker: Asker,
    /// For what.
    pub spec: JobSpec,
    /// Under which key, if any.
    pub key: Option<IdempotencyKey>,
    /// Where its workflow begins, if it goes on from another job's.
    pub run: Option<Run>,
    /// Jobs that this user may have at work.
    pub max_at_work: u32,
}

/// What became of a start request.
#[derive(Debug, Clone, PartialEq)]
pub enum CreateOutcome {
    /// The job is accepted; its first continuation is owed.
    Created(Head),
    /// The same request was accepted before, as this job.
    Existing(Head),
    /// The same request was accepted before, and its job is gone, or no longer kept.
    ExistingGone(JobId),
    /// The key was used for another request.
    KeyReused,
    /// The key was called off before anything was started under it.
    CalledOff,
    /// The user has as many jobs at work as allowed.
    TooManyJobs,
}

/// What became of calling off what may still be started under a key.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum CallOffOutcome {
    /// Nothing was started under it, and nothing will be until then.
    CalledOff(Timestamp),
    /// This job was.
    Started(JobId),
}

impl Store {
    /// Accepts a job: its head, its first lane with the owed continuation, its request and its first event, or nothing.
    ///
    /// # Errors
    /// When the table cannot be written; the job may have been accepted all the same, and the same key tells.
    pub async fn create(&self, new: NewJob, now: Timestamp) -> Result<CreateOutcome, Error> {
        let NewJob { asker, spec, key, run, max_at_work } = new;
        let (head, lane) = accept(asker, &spec, now, &self.times);
        let ttl = items_ttl(&head);

        let (request, parts) = Payload::pack(&spec)?.into_items();
        for (number, part) in (0..).zip(parts) {
            let part_key = Key::of(&head.id, &Sort::RequestPart(number));
            self.write(Write::put(stamped(part_key, ttl, part))).await?;
        }
        let queued =
            Event { number: 1, at: now, origin: None, body: EventBody::JobQueued(JobState { status: Status::Queued }) };
        let by = Signature { writer: starter(&head.id)?, count: 1 };
        let request = stamped(Key::of(&head.id, &Sort::Request), ttl, request);
        let mut writes = vec![
            self.enter(&head.user, &head.id, max_at_work, now),
            Write::put_new(head_item(&head, &self.times)?),
            Write::put_new(lane_item(&head.id, &lane, ttl)?),
            Write::put_new(request),
            put_events(&head.id, &[queued], &by, ttl)?,
        ];
        if let Some(run) = &run {
            // Nobody looks for them before the job is there.
            for (node, record) in &run.nodes {
                let put = self.node_write(&head.id, node, record, "start", ttl).await?;
                self.write(put).await?;
            }
            writes.push(self.plan_write(&head.id, &run.plan, None, "start", ttl).await?);
        }
        if !spec.metadata.is_empty() {
            let (notes, _) = Payload::pack(&spec.metadata)?.into_items();
            writes.insert(KEY_PLACE, Write::put_new(stamped(Key::of(&head.id, &Sort::Info), ttl, notes)));
        }
        if let Some(key) = &key {
            let item = Item::from([
                ("job".to_owned(), s(head.id.as_str())),
                ("fingerprint".to_owned(), s(key.fingerprint.as_str())),
            ]);
            let key = Key::idempotency(&head.user, &key.key);
            let put = Write::put(stamped(key, ttl, item));
            // A key that was called off is free again some time later.
            let free = "attribute_not_exists(#pk) OR #called_off_until <= :now";
            writes.insert(KEY_PLACE, put.when(free, [(":now", at(now))]));
        }
        let token = head.id.as_str();
        match self.transact(token, writes).await? {
            Ok(()) => Ok(CreateOutcome::Created(head)),
            Err(verdicts) => self.refused(key, &verdicts, &head, now).await,
        }
    }

    /// Calls off whatever may be started under a key of this user's in the next ten minutes (R166), unless something was
    /// already: a start that was sent before and arrives later finds the key taken.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn call_off(&self, user: &UserId, key: &str, now: Timestamp) -> Result<CallOffOutcome, Error> {
        let until = now + CALLED_OFF;
        let mark = Item::from([(CALLED_OFF_UNTIL.to_owned(), at(until))]);
        let put = Write::put(stamped(Key::idempotency(user, key), until + CALLED_OFF, mark))
            .when("attribute_not_exists(#pk) OR attribute_exists(#called_off_until)", []);
        match self.write(put).await? {
            Verdict::Fine => Ok(CallOffOutcome::CalledOff(until)),
            Verdict::Refused(Some(item)) => Ok(CallOffOutcome::Started(job_in(&item)?)),
            Verdict::Refused(None) => Err(Error::Contended),
        }
    }

    /// The job that a key of this user stands for.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn job_of_key(
        &self,
        user: &UserId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<CreateOutcome>, Error> {
        match self.get(Key::idempotency(user, &key.key), true).await? {
            Some(item) if text(&item, CALLED_OFF_UNTIL).is_some_and(|until| *until <= *now.to_string()) => Ok(None),
            Some(item) => self.known(&item, &key.fingerprint, now).await.map(Some),
            None => Ok(None),
        }
    }

    async fn refused(
        &self,
        key: Option<IdempotencyKey>,
        verdicts: &[Verdict],
        head: &Head,
        now: Timestamp,
    ) -> Result<CreateOutcome, Error> {
        if let (Some(key), Some(Verdict::Refused(Some(item)))) = (key, verdicts.get(KEY_PLACE)) {
            return self.known(item, &key.fingerprint, now).await;
        }
        match verdicts.get(HEAD_PLACE) {
            // Written by ourselves: a repetition of the request that the token no longer covers.
            Some(Verdict::Refused(_)) => Ok(CreateOutcome::Created(head.clone())),
            _ => Ok(CreateOutcome::TooManyJobs),
        }
    }

    async fn known(&self, item: &Item, fingerprint: &str, now: Timestamp) -> Result<CreateOutcome, Error> {
        if text(item, CALLED_OFF_UNTIL).is_some() {
            return Ok(CreateOutcome::CalledOff);
        }
        if text(item, "fingerprint") != Some(fingerprint) {
            return Ok(CreateOutcome::KeyReused);
        }
        let job = job_in(item)?;
        Ok(match self.head(&job, true).await? {
            Some(head) if head.expires_at > now => CreateOutcome::Existing(head),
            Some(_) | None => CreateOutcome::ExistingGone(job),
        })
    }

    /// Puts a job into its user's set of jobs at work, if there is room.
    fn enter(&self, user: &UserId, job: &JobId, max_at_work: u32, now: Timestamp) -> Write {
        let set = aws_sdk_dynamodb::types::AttributeValue::Ss(vec![job.to_string()]);
        let ttl = n((now + AT_WORK_TTL).as_seconds());
        Write::update(
            Key::at_work(user),
            "ADD #jobs :job SET #ttl = :ttl, #v = :v",
            [(":job", set), (":ttl", ttl), (":v", n(crate::item::FORMAT))],
        )
        .when(
            "attribute_not_exists(#jobs) OR size(#jobs) < :max OR contains(#jobs, :id)",
            [(":max", n(max_at_work)), (":id", s(job.as_str()))],
        )
    }

    /// Puts a job that goes on back into the set, whatever its size: it was let in when it started.
    pub(crate) fn rejoin(&self, user: &UserId, job: &JobId, now: Timestamp) -> Write {
        let set = aws_sdk_dynamodb::types::AttributeValue::Ss(vec![job.to_string()]);
        let ttl = n((now + AT_WORK_TTL).as_seconds());
        Write::update(
            Key::at_work(user),
            "ADD #jobs :job SET #ttl = :ttl, #v = :v",
            [(":job", set), (":ttl", ttl), (":v", n(crate::item::FORMAT))],
        )
    }

    /// Takes a job out of its user's set of jobs at work; harmless when it is not in it.
    pub(crate) fn leave(&self, user: &UserId, job: &JobId) -> Write {
        let set = aws_sdk_dynamodb::types::AttributeValue::Ss(vec![job.to_string()]);
        Write::update(Key::at_work(user), "DELETE #jobs :job", [(":job", set)])
    }
}

/// The job that a key stands for.
fn job_in(item: &Item) -> Result<JobId, Error> {
    text(item, "job").unwrap_or_default().parse().map_err(|error| Error::corrupt("an idempotency key", error))
}

/// Who signs a job's first event.
fn starter(job: &JobId) -> Result<WriterId, Error> {
    format!("start-{}", &job.as_str()[4..]).parse().map_err(|error| Error::corrupt(job.as_str(), error))
}
