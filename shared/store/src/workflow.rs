//! Where a workflow is: its plan, what its nodes have said, and the commit of a lane that has done its part (PROTOCOL:
//! "workflow lane's last commit").

use domain::{
    event::Signature,
    id::{JobId, LaneName},
    input_request::InputRequest,
    job::{Command, Ending, Head, Job, Metrics, Rejected, after},
    time::Timestamp,
    usage::Usage,
    workflow::{NodeKey, NodeRecord, Plan, Step},
};
use serde::Serialize;

use crate::{
    Fenced, Held, Record, Store,
    error::{Error, Verdict},
    input::{resolved, unanswered},
    item::{Payload, input_item, lane_item, n, s, stamped},
    items_ttl,
    key::{Key, Sort},
    write::Write,
};

/// Writes of a transaction, at most.
const MOST_WRITES: usize = 100;
/// Most bytes of questions that a step answers, and of what the log says of them: a transaction has 4 MB, and a step's own
/// texts may have more than half of them.
const MOST_WITHDRAWN: usize = 1024 * 1024;

/// What became of a lane's last commit.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum SettleOutcome {
    /// It is written; these lanes are open now, and the first turn of each is owed.
    Settled(Vec<LaneName>),
    /// The job is over with it.
    Ended,
    /// Another lane was first: read the run again, and settle on that.
    Moved,
    /// The lease was lost, or the job is over.
    LeaseLost,
}

impl Store {
    /// Closes the lane that is held with what it makes of the run: the plan under the version that was read, the records
    /// of nodes, the lanes to open and to close, and the job's end if this is it. All of it or nothing. `record` is the
    /// job as it was read, and the plan with it; `try_` tells repeated tries apart.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn settle_lane(
        &self,
        held: &mut Held,
        record: &Record,
        step: &Step,
        end: Option<(Ending, Option<String>, Usage, Metrics)>,
        try_: u32,
        now: Timestamp,
    ) -> Result<SettleOutcome, Error> {
        let writer = format!("{}-{try_}", held.fence.owner);
        let command = Command::Settle {
            fence: held.fence.clone(),
            opened: step.opened.iter().map(|lane| (lane.clone(), worked_for(&step.plan, lane))).collect(),
            closed: step.closed.clone(),
            ending: end.as_ref().map(|(ending, ..)| ending.clone()),
        };
        let mut before = record.job();
        // Our own lane has moved on since it was read: its answer is recorded.
        before.lanes.insert(held.fence.lane.clone(), held.lane().clone());
        let mut after = match after(&before, &command, now, &self.times) {
            Ok(after) => after,
            Err(Rejected::LeaseLost(_) | Rejected::Finished(_)) => return Ok(SettleOutcome::LeaseLost),
            Err(rejected) => return Err(Error::corrupt(held.id().as_str(), rejected)),
        };
        let sends = u32::try_from(step.opened.len()).unwrap_or(u32::MAX - 1);
        let mut writes = vec![self.lane_change(held, &after, 1 + sends)?];
        writes.push(
            self.plan_write(
                held.id(),
                &step.plan,
                record.run.as_ref().map(|(version, _)| *version),
                &writer,
                items_ttl(&before.head),
            )
            .await?,
        );
        if let Some((_, output, usage, metrics)) = end {
            (after.head.usage, after.head.metrics) = (usage, metrics);
            // This one, and those that settle it: head, tail and job are read, the last event put, the bus's news noted.
            after.head.metrics.requests += self.asked.so_far() + 6;
            writes.push(self.leave(&after.head.user, held.id()));
            if let Some(output) = output {
                let key = |n| Sort::OutputPart(&writer, n).to_string();
                writes.push(
                    self.packed(held.id(), Sort::Output, key, &output, &writer, items_ttl(&before.head), []).await?,
                );
            }
        }
        writes.push(self.settled_head(&before.head, &after.head)?);
        for (key, node) in &step.changed {
            writes.push(self.node_write(held.id(), key, node, &writer, items_ttl(&before.head)).await?);
        }
        writes.extend(self.other_lanes(held, &before, &after)?);
        let is_over = after.head.status().is_finished();
        let stops = before.head.status() != after.head.status() && !is_over;
        let room = MOST_WRITES.saturating_sub(writes.len() + 2);
        let withdrawn = if is_over { vec![] } else { withdrawn(record, &before, &after, room, now)? };
        if stops || !withdrawn.is_empty() {
            let Some((tail, _)) = self.tail(held.id()).await? else { return Ok(SettleOutcome::LeaseLost) };
            let mut next = tail.number + 1;
            for request in &withdrawn {
                writes.extend(self.withdraw(held, request, next, now)?);
                next += 1;
            }
            if stops {
                writes.push(self.leave(&after.head.user, held.id()));
                writes.push(self.said(&after.head, next, &held.fence.owner, now)?);
            }
        }
        match self.transact(&format!("{}-w{try_}", held.fence.owner), writes).await? {
            Ok(()) => {
                held.job = after;
                Ok(if is_over { SettleOutcome::Ended } else { SettleOutcome::Settled(step.opened.clone()) })
            }
            Err(verdicts) => match verdicts.first() {
                Some(Verdict::Refused(_)) => self.settled_already(held, step, is_over).await,
                _ => Ok(SettleOutcome::Moved),
            },
        }
    }

    /// Closes the lane that is held: the plan does not want its work any more. Whether it still was held.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn close_lane(&self, held: &mut Held, record: &Record, now: Timestamp) -> Result<Fenced<()>, Error> {
        let mut before = record.job();
        before.lanes.insert(held.fence.lane.clone(), held.lane().clone());
        let command = Command::Settle { fence: held.fence.clone(), opened: vec![], closed: vec![], ending: None };
        let Ok(after) = after(&before, &command, now, &self.times) else { return Ok(Fenced::LeaseLost) };
        let mut writes = vec![self.lane_change(held, &after, 1)?, self.settled_head(&before.head, &after.head)?];
        if before.head.status() != after.head.status() {
            let Some((tail, _)) = self.tail(held.id()).await? else { return Ok(Fenced::LeaseLost) };
            writes.push(self.leave(&after.head.user, held.id()));
            writes.push(self.said(&after.head, tail.number + 1, &held.fence.owner, now)?);
        }
        // Refused because the head has moved on: the lane's next delivery finds it as it is then.
        Ok(match self.transact(&format!("{}-c", held.fence.owner), writes).await? {
            Ok(()) => Fenced::Done(()),
            Err(_) => Fenced::LeaseLost,
        })
    }

    /// The lane refused: perhaps to our own commit, whose answer was lost. Nobody but its holder closes it and leaves the
    /// job at work.
    async fn settled_already(&self, held: &Held, step: &Step, is_over: bool) -> Result<SettleOutcome, Error> {
        let lane = self.lane(held.id(), &held.fence.lane).await?;
        let ours = lane.is_some_and(|lane| !lane.open && lane.epoch == held.fence.epoch + 1);
        let Some(head) = self.head(held.id(), true).await? else { return Ok(SettleOutcome::LeaseLost) };
        Ok(match (ours, head.status().is_finished()) {
            (true, true) if is_over => SettleOutcome::Ended,
            (true, false) => SettleOutcome::Settled(step.opened.clone()),
            _ => SettleOutcome::LeaseLost,
        })
    }

    /// The plan, under the version that was read.
    pub(crate) async fn plan_write(
        &self,
        job: &JobId,
        plan: &Plan,
        read: Option<u64>,
        writer: &str,
        ttl: Timestamp,
    ) -> Result<Write, Error> {
        let version = [("version".to_owned(), n(read.unwrap_or(0) + 1))];
        let key = |n| Sort::PlanPart(writer, n).to_string();
        let put = self.packed(job, Sort::Plan, key, plan, writer, ttl, version).await?;
        Ok(match read {
            None => put.when("attribute_not_exists(#pk)", []),
            Some(read) => put.when("#version = :read", [(":read", n(read))]),
        })
    }

    pub(crate) async fn node_write(
        &self,
        job: &JobId,
        key: &NodeKey,
        node: &NodeRecord,
        writer: &str,
        ttl: Timestamp,
    ) -> Result<Write, Error> {
        let name = [("node".to_owned(), s(key.as_str()))];
        self.packed(job, Sort::Node(key), |n| Sort::NodePart(key, writer, n).to_string(), node, writer, ttl, name).await
    }

    /// The write of a value that may be larger than an item: its parts are put at once, where nobody looks for them until
    /// the item names their writer.
    #[expect(clippy::too_many_arguments, reason = "the item, its parts' names, and what is beside the value")]
    async fn packed<const N: usize>(
        &self,
        job: &JobId,
        sort: Sort<'_>,
        part: impl Fn(u32) -> String,
        value: &impl Serialize,
        writer: &str,
        ttl: Timestamp,
        beside: [(String, aws_sdk_dynamodb::types::AttributeValue); N],
    ) -> Result<Write, Error> {
        let (mut item, parts) = Payload::pack(value)?.into_items();
        if !parts.is_empty() {
            item.insert("parts_by".to_owned(), s(writer));
        }
        for (number, value) in (0..).zip(parts) {
            let key = Key { pk: job.to_string(), sk: part(number) };
            self.write(Write::put(stamped(key, ttl, value))).await?;
        }
        item.extend(beside);
        Ok(Write::put(stamped(Key::of(job, &sort), ttl, item)))
    }

    /// Answers a question of a lane that closes, unless somebody has, and says so in the log.
    fn withdraw(&self, held: &Held, request: &InputRequest, number: u64, now: Timestamp) -> Result<[Write; 2], Error> {
        // No event of the turn's appender has this count.
        let signed = Signature { writer: held.fence.owner.clone(), count: 0 };
        let ttl = held.ttl();
        let answer = unanswered(Write::put(input_item(held.id(), request, ttl)?));
        Ok([answer, resolved(held.id(), request, number, &signed, ttl, now)?])
    }

    fn settled_head(&self, before: &Head, after: &Head) -> Result<Write, Error> {
        Ok(self.head_change(before, after)?.when("#lanes_version = :lanes", [(":lanes", n(before.lanes_version))]))
    }

    /// The other lanes that open and close with the held one.
    fn other_lanes(&self, held: &Held, before: &Job, after: &Job) -> Result<Vec<Write>, Error> {
        let ttl = items_ttl(&before.head);
        let changes = after.lanes.values().filter(|lane| lane.name != held.fence.lane);
        changes
            .filter_map(|lane| match before.lanes.get(&lane.name) {
                None => Some(lane_item(held.id(), lane, ttl).map(Write::put_new)),
                // As the head's count takes it to be: at work, or waiting (counterexample 22).
                Some(was) if was.open && !lane.open => {
                    let waits = if was.waits.is_some() { "attribute_exists" } else { "attribute_not_exists" };
                    let as_read = format!("#open = :open AND {waits}(#waits)");
                    let open = aws_sdk_dynamodb::types::AttributeValue::Bool(true);
                    Some(Ok(closing(held.id(), &lane.name).when(&as_read, [(":open", open)])))
                }
                Some(_) => None,
            })
            .collect()
    }
}

/// Closes a lane whoever holds it by now: the epoch rises above every claim.
pub(crate) fn closing(job: &JobId, lane: &LaneName) -> Write {
    Write::update(
        Key::of(job, &Sort::Lane(lane)),
        "SET #open = :closed, #epoch = #epoch + :one REMOVE #lease, #waits, #due_at, #due_shard",
        [(":closed", aws_sdk_dynamodb::types::AttributeValue::Bool(false)), (":one", n(1))],
    )
}

/// The open questions of the lanes that close, as answered by the workflow: as many as there is room for. To one that is
/// left, nobody's answer is taken, since its lane is closed.
fn withdrawn(
    record: &Record,
    before: &Job,
    after: &Job,
    room: usize,
    now: Timestamp,
) -> Result<Vec<InputRequest>, Error> {
    let closes = |lane: &LaneName| {
        let is_open = |job: &Job| job.lanes.get(lane).is_some_and(|lane| lane.open);
        is_open(before) && !is_open(after)
    };
    let open = record.inputs.iter().filter(|it| it.is_open() && !it.is_of_job() && closes(&it.lane));
    let (mut found, mut bytes) = (vec![], 0);
    for request in open.take(room / 2) {
        let answered = InputRequest { answer: Some(request.withdrawn(now)), ..request.clone() };
        let json = serde_json::to_string(&answered).map_err(|error| Error::corrupt(record.head.id.as_str(), error))?;
        bytes += 2 * json.len();
        if bytes > MOST_WITHDRAWN {
            break;
        }
        found.push(answered);
    }
    Ok(found)
}

/// The node that a lane works for, as viewers know it.
fn worked_for(plan: &Plan, lane: &LaneName) -> String {
    plan.lanes.get(lane).map_or_else(|| lane.to_string(), |work| work.key.shown())
}
