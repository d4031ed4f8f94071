//! winterbaume's queue state under our lock: the crate's backend trait over the crate's own [`SqsState`].
//!
//! The crate's built-in backend hides its state, and three things need it: when the next message becomes visible (so that
//! a receiver can sleep until then), the set of deleted receipt handles (which it only ever grows), and counts that
//! include messages which came back unread.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;
use winterbaume_sqs::state::SqsError;
use winterbaume_sqs::types::{Message, MessageAttribute, MessageMoveTask, Queue};
use winterbaume_sqs::{SendMessageOutput, SqsBackend, SqsState, SqsStateView, StateViewError};

use super::Depth;

/// Receipt handles are four UUIDs in a row.
const HANDLE_LENGTH: usize = 144;

/// What a receiver finds.
enum Look {
    /// A message that can be received, or a queue that does not exist.
    Ready,
    /// Nothing before this much time has passed, unless it is woken.
    Wait(Duration),
}

#[derive(Clone, Default)]
pub(super) struct Queues(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<SqsState>,
    waiting: Mutex<HashMap<String, Arc<Notify>>>,
    asked: Mutex<BTreeMap<String, u64>>,
}

impl Queues {
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut SqsState) -> T) -> T {
        f(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn count(&self, operation: &str) {
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.get_mut(operation) {
            Some(n) => *n += 1,
            None => drop(asked.insert(operation.to_owned(), 1)),
        }
    }

    pub(super) fn asked(&self) -> BTreeMap<String, u64> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn notify(&self, queue: &str) -> Arc<Notify> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get(queue) {
            Some(notify) => Arc::clone(notify),
            None => Arc::clone(waiting.entry(queue.to_owned()).or_default()),
        }
    }

    /// Resolves when the queue changed in a way that may concern a waiting receiver.
    fn woken(&self, queue: &str) -> OwnedNotified {
        self.notify(queue).notified_owned()
    }

    fn wake(&self, queue: &str) {
        self.notify(queue).notify_waiters();
    }

    /// Waits until the queue has a message that can be received, or there is no such queue, or the time is up.
    pub(super) async fn until_ready(&self, queue: &str, deadline: Instant) {
        loop {
            // Registered before looking, so that nothing that comes between the two is missed.
            let woken = self.woken(queue);
            tokio::pin!(woken);
            woken.as_mut().enable();
            let now = Instant::now();
            match self.look(queue, deadline.saturating_duration_since(now)) {
                Look::Wait(sleep) if now < deadline => {
                    let _ = tokio::time::timeout_at((now + sleep).min(deadline), woken).await;
                }
                Look::Ready | Look::Wait(_) => return,
            }
        }
    }

    fn look(&self, queue: &str, at_most: Duration) -> Look {
        self.with(|s| {
            let Some(queue) = s.queues.get(queue) else {
                return Look::Ready;
            };
            let now = now_ms();
            let mut sleep = at_most;
            for message in &queue.messages {
                if message.visible_at <= now {
                    return Look::Ready;
                }
                sleep = sleep.min(ms(message.visible_at - now));
            }
            Look::Wait(sleep)
        })
    }

    pub(super) fn receive_wait(&self, queue: &str) -> Duration {
        self.with(|s| {
            let seconds = s.queues.get(queue).map(|q| q.queue.receive_wait_time_seconds);
            Duration::from_secs(seconds.unwrap_or_default().into())
        })
    }

    pub(super) fn depth(&self, queue: &str) -> Depth {
        self.with(|s| depth(s, queue))
    }

    pub(super) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let names: Vec<String> = self.with(|s| {
            for message in s.queues.values_mut().flat_map(|q| &mut q.messages) {
                message.visible_at = message.visible_at.saturating_sub(by);
            }
            s.queues.keys().cloned().collect()
        });
        for name in names {
            self.wake(&name);
        }
    }
}

fn depth(state: &SqsState, queue: &str) -> Depth {
    let now = now_ms();
    let mut depth = Depth::default();
    for message in state.queues.get(queue).into_iter().flat_map(|q| &q.messages) {
        if message.visible_at <= now {
            depth.visible += 1;
        } else if message.approximate_receive_count > 0 {
            depth.in_flight += 1;
        } else {
            depth.delayed += 1;
        }
    }
    depth
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

fn ms(n: i64) -> Duration {
    Duration::from_millis(u64::try_from(n).unwrap_or_default())
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One method per operation: the state's own answer, at once. There is one account and one region.
macro_rules! operations {
    ($($name:ident($this:ident, $($arg:ident: $ty:ty),*) -> $out:ty = $body:expr;)*) => {
        $(
            fn $name(&self, _account: String, _region: String, $($arg: $ty),*) -> Answer<$out> {
                let $this = self;
                Box::pin(ready($body))
            }
        )*
    };
}

impl SqsBackend for Queues {
    fn create_queue(
        &self,
        account: String,
        region: String,
        name: String,
        attributes: HashMap<String, String>,
        tags: Option<HashMap<String, String>>,
    ) -> Answer<Result<Queue, SqsError>> {
        Box::pin(ready(self.with(|s| s.create_queue(&name, &region, &account, &attributes, tags.as_ref()).cloned())))
    }

    fn send_message(
        &self,
        _account: String,
        _region: String,
        queue: String,
        body: String,
        delay: Option<u32>,
        attributes: HashMap<String, MessageAttribute>,
        group: Option<String>,
        deduplication: Option<String>,
    ) -> Answer<Result<SendMessageOutput, SqsError>> {
        let sent = self.send(&queue, &body, delay, attributes, group.as_deref(), deduplication.as_deref());
        Box::pin(ready(sent))
    }

    operations! {
        delete_queue(this, queue: String) -> Result<(), SqsError> =
            this.with(|s| s.delete_queue(&queue)).inspect(|()| this.wake(&queue));
        get_queue_url(this, queue: String) -> Result<String, SqsError> =
            this.with(|s| s.get_queue_url(&queue).map(str::to_owned));
        get_queue_attributes(this, queue: String) -> Result<HashMap<String, String>, SqsError> =
            this.attributes(&queue);
        set_queue_attributes(this, queue: String, attributes: HashMap<String, String>) -> Result<(), SqsError> =
            this.with(|s| s.set_queue_attributes(&queue, &attributes));
        list_queues(this, prefix: Option<String>) -> Result<Vec<Queue>, SqsError> =
            Ok(this.with(|s| s.list_queues(prefix.as_deref()).into_iter().cloned().collect()));
        receive_messages(this, queue: String, max: usize, visibility: Option<u32>) -> Result<Vec<Message>, SqsError> =
            this.take(&queue, max, visibility);
        delete_message(this, queue: String, handle: String) -> Result<(), SqsError> =
            this.delete(&queue, &handle);
        purge_queue(this, queue: String) -> Result<(), SqsError> =
            this.with(|s| s.purge_queue(&queue));
        change_message_visibility(this, queue: String, handle: String, seconds: u32) -> Result<(), SqsError> =
            this.hide(&queue, &handle, seconds);
        change_message_visibility_batch(this, queue: String, entries: Vec<(String, String, u32)>)
            -> Result<Vec<String>, SqsError> =
            this.with(|s| s.change_message_visibility_batch(&queue, &entries))
                .inspect(|_| this.wake(&queue));
        list_queue_tags(this, queue: String) -> Result<HashMap<String, String>, SqsError> =
            this.with(|s| s.list_queue_tags(&queue));
        tag_queue(this, queue: String, tags: HashMap<String, String>) -> Result<(), SqsError> =
            this.with(|s| s.tag_queue(&queue, &tags));
        untag_queue(this, queue: String, keys: Vec<String>) -> Result<(), SqsError> =
            this.with(|s| s.untag_queue(&queue, &keys));
        add_permission(this, queue: String, label: String, accounts: Vec<String>, actions: Vec<String>)
            -> Result<(), SqsError> =
            this.with(|s| s.add_permission(&queue, &label, accounts, actions));
        remove_permission(this, queue: String, label: String) -> Result<(), SqsError> =
            this.with(|s| s.remove_permission(&queue, &label));
        list_dead_letter_source_queues(this, queue: String) -> Result<Vec<String>, SqsError> =
            this.with(|s| s.list_dead_letter_source_queues(&queue));
        start_message_move_task(this, from: String, to: Option<String>, rate: Option<i32>)
            -> Result<String, SqsError> =
            this.with(|s| s.start_message_move_task(&from, to.as_deref(), rate));
        cancel_message_move_task(this, task: String) -> Result<i64, SqsError> =
            this.with(|s| s.cancel_message_move_task(&task));
        list_message_move_tasks(this, from: String) -> Result<Vec<MessageMoveTask>, SqsError> =
            Ok(this.with(|s| s.list_message_move_tasks(&from).into_iter().cloned().collect()));
        snapshot(this, ) -> SqsStateView = this.with(|s| SqsStateView::from(&*s));
        restore(this, view: SqsStateView) -> Result<(), StateViewError> =
            { this.with(|s| *s = SqsState::from(view)); Ok(()) };
        merge(this, view: SqsStateView) -> Result<(), StateViewError> =
            { this.with(|s| s.queues.extend(SqsState::from(view).queues)); Ok(()) };
    }

    fn scopes_with_state(&self) -> Vec<(String, String)> {
        vec![(super::ACCOUNT.to_owned(), super::REGION.to_owned())]
    }
}

impl Queues {
    pub(super) fn send(
        &self,
        queue: &str,
        body: &str,
        delay: Option<u32>,
        attributes: HashMap<String, MessageAttribute>,
        group: Option<&str>,
        deduplication: Option<&str>,
    ) -> Result<SendMessageOutput, SqsError> {
        let sent = self.with(|s| s.send_message(queue, body, delay, attributes, group, deduplication))?;
        self.wake(queue);
        Ok(SendMessageOutput { message_id: sent.message_id, body_md5: sent.body_md5 })
    }

    pub(super) fn hide(&self, queue: &str, handle: &str, seconds: u32) -> Result<(), SqsError> {
        self.with(|s| s.change_message_visibility(queue, handle, seconds)).inspect(|()| self.wake(queue))
    }

    pub(super) fn delete(&self, queue: &str, handle: &str) -> Result<(), SqsError> {
        self.with(|s| delete(s, queue, handle))
    }

    pub(super) fn take(&self, queue: &str, max: usize, visibility: Option<u32>) -> Result<Vec<Message>, SqsError> {
        let before = now_ms();
        let (taken, dead_letters) = self.with(|s| {
            let taken = s.receive_message(queue, max, visibility);
            let target = s.queues.get(queue).and_then(|q| q.dead_letter_target_arn.as_deref());
            let target = target.and_then(|arn| arn.rsplit(':').next()).map(str::to_owned);
            // A redriven message is visible in its new queue from the moment of this receive.
            let moved = target.filter(|name| {
                s.queues.get(name).and_then(|q| q.messages.last()).is_some_and(|m| m.visible_at >= before)
            });
            (taken, moved)
        });
        if let Some(name) = dead_letters {
            self.wake(&name);
        }
        // Others that wait must learn when what was just hidden comes back.
        if taken.as_ref().is_ok_and(|taken| !taken.is_empty()) {
            self.wake(queue);
        }
        taken
    }

    /// The crate counts a message that came back unread nowhere; SQS counts it as visible.
    fn attributes(&self, queue: &str) -> Result<HashMap<String, String>, SqsError> {
        self.with(|s| {
            let mut attributes = s.get_queue_attributes(queue)?;
            let visible = depth(s, queue).visible.to_string();
            attributes.insert("ApproximateNumberOfMessages".to_owned(), visible);
            Ok(attributes)
        })
    }
}

/// Deletes a message; deleting what is gone already succeeds, as on SQS, without remembering every handle for ever.
fn delete(state: &mut SqsState, queue: &str, handle: &str) -> Result<(), SqsError> {
    let deleted = state.delete_message(queue, handle);
    if let Some(queue) = state.queues.get_mut(queue) {
        queue.deleted_handles.clear();
    }
    match deleted {
        Err(SqsError::InvalidReceiptHandle { .. }) if handle.len() == HANDLE_LENGTH => Ok(()),
        other => other,
    }
}
