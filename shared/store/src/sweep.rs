//! What is due and not done, by index (PROTOCOL: `sweep`).

use std::time::Duration;

use domain::{
    continuation::Continuation,
    event::{Event, EventBody, Signature},
    id::{JobId, LaneName, WriterId},
    job::{Head, State},
    lane::Lane,
    time::Timestamp,
};
use futures_util::future::try_join_all;

use crate::{
    Store,
    error::{Error, Verdict},
    item::{Item, at, is_deleted, lane_item, n, owes_from_mark, partition_of, s, sort_of},
    items_ttl,
    key::{DUE_SHARDS, Key, Sort, shard_name},
    log::put_events,
    schema::Index,
    write::Write,
};

/// Something that is past its due time, as the index has it: it may be stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// A job's head.
    Job(JobId),
    /// A lane.
    Lane(JobId, LaneName),
}

/// What a lane that was due needs.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum SweptLane {
    /// Nothing: somebody is at work on it, or it was dealt with.
    Nothing,
    /// Its turn has to be asked for.
    Ask(Continuation),
    /// It waits for answers, and the event bus does not know yet.
    Announce(Box<Head>, Box<Lane>),
}

/// A running job in which nothing has happened for too long, which its log now says.
#[derive(Debug, Clone, PartialEq)]
pub struct Stall {
    /// Its head.
    pub head: Box<Head>,
    /// Since when.
    pub since: Timestamp,
}

/// From where on the due index is read: the shards that may have more, and after which entry.
#[derive(Debug, Clone)]
pub struct DueFrom(Vec<(u32, Option<Item>)>);

/// From the beginning.
impl Default for DueFrom {
    fn default() -> Self {
        Self((0..DUE_SHARDS).map(|shard| (shard, None)).collect())
    }
}

/// What stands in the place of a deleted job's head.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// How the job ended, of which the event bus is still to be told; without its title, which quotes what was asked.
    pub owes: Option<Head>,
}

impl Store {
    /// What the due index has up to `now`, at most `limit` entries of each shard, and from where on there may be more. The
    /// shards are asked side by side: a sweep waits for one answer of the table and not for eight.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn due(&self, now: Timestamp, limit: u32, from: DueFrom) -> Result<(Vec<Due>, Option<DueFrom>), Error> {
        let shards = from.0.into_iter().map(async |(shard, start)| {
            let (due, next) = self.due_page(shard, now, Some(limit), start).await?;
            Ok::<_, Error>((due, next.map(|next| (shard, Some(next)))))
        });
        let (due, next): (Vec<_>, Vec<_>) = try_join_all(shards).await?.into_iter().unzip();
        let next: Vec<_> = next.into_iter().flatten().collect();
        Ok((due.into_iter().flatten().collect(), (!next.is_empty()).then_some(DueFrom(next))))
    }

    /// A finished job, or what is left of a deleted one, is to be looked at again then, and not before.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn put_off(&self, job: &JobId, until: Timestamp) -> Result<(), Error> {
        let later = Write::update(Key::of(job, &Sort::Head), "SET #due_at = :until", [(":until", at(until))]);
        let ended = later.when(
            "attribute_exists(#due_at) AND (#state = :finished OR attribute_exists(#deleted))",
            [(":finished", s("finished"))],
        );
        self.write(ended).await.map(drop)
    }

    async fn due_page(
        &self,
        shard: u32,
        now: Timestamp,
        limit: Option<u32>,
        start: Option<Item>,
    ) -> Result<(Vec<Due>, Option<Item>), Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(Index::ByDue.name())
            .key_condition_expression("#shard = :shard AND #due <= :now")
            .expression_attribute_names("#shard", Index::ByDue.hash())
            .expression_attribute_names("#due", Index::ByDue.range())
            .expression_attribute_values(":shard", crate::item::s(shard_name(shard)))
            .expression_attribute_values(":now", at(now))
            .set_limit(limit.and_then(|limit| i32::try_from(limit).ok()))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(Error::from_sdk)?;
        let due = answer.items.unwrap_or_default().iter().filter_map(entry).collect();
        Ok((due, answer.last_evaluated_key.filter(|key| !key.is_empty())))
    }

    /// Looks at a lane that the index calls due. Pushes its due time (one sweeper of several wins), and answers with what
    /// is owed. Where nothing has happened in the running job for `stall_after`, its log says so in the same transaction,
    /// once for each time that it stands still. `by` signs the event: a fresh name.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn sweep_lane(
        &self,
        job: &JobId,
        lane: &LaneName,
        stall_after: Duration,
        by: &WriterId,
        now: Timestamp,
    ) -> Result<(SweptLane, Option<Stall>), Error> {
        let nothing = (SweptLane::Nothing, None);
        let Some(lane) = self.lane(job, lane).await? else { return Ok(nothing) };
        let Some((tail, head)) = self.tail(job).await? else { return Ok(nothing) };
        let runs = matches!(head.state, State::Running { .. }) && !lane.is_waiting(now);
        let moved_at = tail.moved_at.filter(|_| runs && !tail.is_stalled);
        let look_by = moved_at.map(|moved| moved + stall_after);
        let Some(swept) = lane.swept(now, look_by) else { return Ok(nothing) };
        let ttl = items_ttl(&head);
        let key = Key::of(job, &Sort::Lane(&lane.name));
        let push = Write::change(key, &lane_item(job, &lane, ttl)?, &lane_item(job, &swept.lane, ttl)?).when(
            "#epoch = :epoch AND #turn = :turn AND #due_at = :was",
            [(":epoch", n(lane.epoch)), (":turn", n(lane.turn)), (":was", at(lane.due_at.unwrap_or(Timestamp::MIN)))],
        );
        let (mut is_pushed, mut stall) = (false, None);
        if let Some(since) = moved_at.filter(|moved| *moved + stall_after <= now) {
            match self.say_stalled(push.clone(), &head, tail.number + 1, since, by, now).await? {
                Said::Told => (is_pushed, stall) = (true, Some(Stall { head: Box::new(head.clone()), since })),
                Said::Moves => {}
                Said::Changed => return Ok(nothing),
            }
        }
        if !is_pushed && self.write(push).await? != Verdict::Fine {
            return Ok(nothing);
        }
        let needs = if swept.ask {
            SweptLane::Ask(Continuation { job: job.clone(), lane: lane.name, turn: lane.turn })
        } else if swept.lane.waits.as_ref().is_some_and(|waits| !waits.announced) {
            SweptLane::Announce(Box::new(head), Box::new(swept.lane))
        } else {
            SweptLane::Nothing
        };
        Ok((needs, stall))
    }

    /// Pushes the lane, and puts `job.stalled` at the log's end, if the job still runs and nobody has written meanwhile. The
    /// head is checked in the same transaction, so that nothing comes after a terminal event; the event belongs to no turn,
    /// and an appender that meets it goes on behind it, as behind a message.
    async fn say_stalled(
        &self,
        push: Write,
        head: &Head,
        number: u64,
        since: Timestamp,
        by: &WriterId,
        now: Timestamp,
    ) -> Result<Said, Error> {
        let runs = Write::check(Key::of(&head.id, &Sort::Head))
            .when("#state = :running AND attribute_not_exists(#deleted)", [(":running", s("running"))]);
        let event = Event { number, at: now, origin: None, body: EventBody::JobStalled { since } };
        let by = Signature { writer: by.clone(), count: 1 };
        let told = put_events(&head.id, &[event], &by, items_ttl(head))?;
        Ok(match self.transact(&format!("{}-stall", by.writer), vec![push, runs, told]).await? {
            Ok(()) => Said::Told,
            Err(verdicts) if matches!(verdicts[..], [Verdict::Fine, Verdict::Fine, _]) => Said::Moves,
            Err(_) => Said::Changed,
        })
    }

    /// For a system that is the table's only user and has just started: whoever held a lease is dead. Ends every lease,
    /// and answers with the continuations of all open lanes, since their messages may have died as well, and with how
    /// long each has to wait.
    ///
    /// # Errors
    /// When the table cannot be read or written.
    pub async fn release_all(&self, now: Timestamp) -> Result<Vec<(Continuation, Duration)>, Error> {
        let mut owed = Vec::new();
        for shard in 0..DUE_SHARDS {
            let mut start = None;
            loop {
                let (due, next) = self.due_page(shard, Timestamp::from_millis(i64::MAX), None, start).await?;
                for entry in due {
                    if let Due::Lane(job, lane) = entry {
                        owed.extend(self.release_lane(job, &lane, now).await?);
                    }
                }
                if next.is_none() {
                    break;
                }
                start = next;
            }
        }
        Ok(owed)
    }

    async fn release_lane(
        &self,
        job: JobId,
        name: &LaneName,
        now: Timestamp,
    ) -> Result<Option<(Continuation, Duration)>, Error> {
        let Some(lane) = self.lane(&job, name).await?.filter(|lane| lane.open) else { return Ok(None) };
        if lane.is_leased(now) {
            // The restart is nobody's failed try, or a few of them would fail a long turn.
            let key = Key::of(&job, &Sort::Lane(name));
            let release = Write::update(
                key,
                "SET #lease.#expires_at = :now, #tries = #tries - :one",
                [(":now", at(now)), (":one", n(1))],
            );
            let release = release.when("#epoch = :epoch AND attribute_exists(#lease)", [(":epoch", n(lane.epoch))]);
            self.write(release).await?;
        }
        // A turn that was put off is due later than its margin says.
        let put_off = lane.due_at.filter(|_| lane.lease.is_none()).unwrap_or(now) - self.times.margin;
        let continuation = Continuation { job, lane: lane.name, turn: lane.turn };
        Ok(Some((continuation, put_off.since(now))))
    }

    /// The mark of a deleted job, whose items may be left; nothing where no job was deleted.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn mark_of_deleted(&self, job: &JobId) -> Result<Option<Mark>, Error> {
        let mark = self.get(Key::of(job, &Sort::Head), true).await?.filter(is_deleted);
        mark.map(|mark| Ok(Mark { owes: owes_from_mark(mark)? })).transpose()
    }
}

/// What became of saying that a job stands still.
enum Said {
    Told,
    /// Somebody wrote to its log: it moves.
    Moves,
    /// The lane was taken up, or the job does not run any more.
    Changed,
}

fn entry(item: &Item) -> Option<Due> {
    let job = partition_of(item).parse().ok()?;
    match sort_of(item).strip_prefix("lane#") {
        Some(lane) => Some(Due::Lane(job, lane.parse().ok()?)),
        None => Some(Due::Job(job)),
    }
}
