//! Following over a log in memory, in tokio's paused time. That the table's own pages are as this log's is tested with
//! the whole system.

use std::{
    convert::Infallible,
    ops::RangeInclusive,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use api::{sse, stream_token::StreamTokens};
use axum::{body::to_bytes, http::Request};
use bytes::Bytes;
use domain::{
    event::{Event, EventBody, JobState, JobSummary, Origin, Signature},
    id::{JobId, LaneName},
    job::{Ending, FinishReason, Head, JobKind, Metrics, Owed, State, Status},
    lane::LeaseTimes,
    time::Timestamp,
    usage::Usage,
};
use futures_util::{Stream, StreamExt, future::join_all};
use store::{After, Error, Page, Store, Tail};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::ServiceExt;

use super::*;
use crate::hub::{Hint, MOST_HINTS};

type Frames = Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>> + Send>>;

fn job() -> JobId {
    "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3".parse().unwrap()
}

fn at() -> Timestamp {
    Timestamp::from_millis(1_763_800_000_000)
}

fn finished(owed: Owed) -> State {
    State::Finished { ending: Ending::Completed { reason: FinishReason::Stop }, at: at(), owed }
}

fn head(state: State) -> Head {
    Head {
        id: job(),
        user: "ann".parse().unwrap(),
        kind: JobKind::Chat,
        thread: None,
        message: None,
        title: String::new(),
        model: "m".into(),
        created_at: at(),
        started_at: Some(at()),
        state,
        deadline_seconds: 300,
        retention_seconds: 604_800,
        expires_at: at() + Duration::from_secs(604_800),
        lanes_version: 1,
        lanes_at_work: 1,
        paused_ms: 0,
        inbox: 0,
        watched_until: Timestamp::MIN,
        trace: None,
        usage: Usage::default(),
        metrics: Metrics::default(),
    }
}

fn text(text: &str) -> EventBody {
    EventBody::OutputDelta { text: text.into() }
}

/// Of a kind that is never merged with its neighbours.
fn step() -> EventBody {
    EventBody::TurnStarted { model: "m".into() }
}

fn terminal() -> EventBody {
    JobSummary {
        status: Status::Completed,
        finish_reason: FinishReason::Stop,
        output: "x".into(),
        output_truncated: false,
        usage: Usage::default(),
        metrics: Metrics::default(),
        error: None,
    }
    .into_event()
}

/// What the table would have, and what was asked of it.
struct Written {
    events: Vec<Event>,
    head: Option<Head>,
    page: usize,
    /// What a read that is not consistent does not see yet.
    lag: usize,
    is_down: bool,
    reads: Vec<(Instant, u64, bool)>,
    watched: Vec<(Instant, Timestamp)>,
}

#[derive(Clone)]
struct Table(Arc<Mutex<Written>>);

impl Table {
    fn new() -> Self {
        let head = head(State::Running { deadline_at: at() });
        Self(Arc::new(Mutex::new(Written {
            events: vec![],
            head: Some(head),
            page: 3,
            lag: 0,
            is_down: false,
            reads: vec![],
            watched: vec![],
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap()
    }

    fn write(&self, body: EventBody) {
        let mut written = self.lock();
        let number = written.events.len() as u64 + 1;
        let origin = Some(Origin { lane: LaneName::main(), turn: 1, attempt: 1, node_id: None });
        written.events.push(Event { number, at: at(), origin, body });
    }

    /// What a hint has to tell of these events.
    fn told(&self, numbers: RangeInclusive<usize>) -> Hint {
        let by = Signature { writer: "a".parse().unwrap(), count: 1 };
        let events = &self.lock().events[numbers.start() - 1..*numbers.end()];
        Some(Arc::new(store::events_item(&job(), events, &by, at()).unwrap()))
    }

    fn is(&self, state: State) {
        self.lock().head = Some(head(state));
    }

    fn finish(&self) {
        self.is(finished(Owed::default()));
        self.write(terminal());
    }

    fn read(&self, cursor: u64, consistent: bool) -> Result<Option<Page>, Error> {
        let mut written = self.lock();
        written.reads.push((Instant::now(), cursor, consistent));
        if written.is_down {
            return Err(Error::Contended);
        }
        let Some(head) = written.head.clone() else { return Ok(None) };
        let seen = written.events.len() - if consistent { 0 } else { written.lag };
        let from = usize::try_from(cursor).unwrap().min(seen);
        let to = seen.min(from + written.page);
        let events = written.events[from..to].to_vec();
        Ok(Some(Page { events, head: (to == seen).then_some(head) }))
    }

    fn hub_with(&self, settings: Settings) -> Arc<Hub> {
        let (reader, noter) = (self.clone(), self.clone());
        let log = Log {
            read_page: Box::new(move |_, after, consistent| {
                let (After::Event(cursor) | After::Batch(cursor)) = after;
                let read = reader.read(cursor, consistent);
                Box::pin(async { read })
            }),
            note_watched: Box::new(move |_, until| {
                noter.lock().watched.push((Instant::now(), until));
                Box::pin(async { Ok(()) })
            }),
        };
        Hub::new(log, Arc::new(at), settings)
    }

    fn hub(&self) -> Arc<Hub> {
        self.hub_with(Settings::default())
    }

    fn open(&self, hub: &Arc<Hub>, cursor: u64) -> Frames {
        self.open_having_seen(1, hub, cursor)
    }

    /// For a viewer that came with a look at so many of the last events.
    fn open_having_seen(&self, n: usize, hub: &Arc<Hub>, cursor: u64) -> Frames {
        let written = self.lock();
        let recent = written.events[written.events.len().saturating_sub(n)..].to_vec();
        Box::pin(follow(hub.join(written.head.as_ref().unwrap(), recent), cursor))
    }
}

async fn take(frames: &mut Frames) -> Option<String> {
    let frame = timeout(Duration::from_secs(3600), frames.next()).await.expect("a stream that never goes on");
    frame.map(|frame| String::from_utf8(frame.unwrap().to_vec()).unwrap())
}

/// The next frame that is not a ping.
async fn take_frame(frames: &mut Frames) -> Option<String> {
    loop {
        match take(frames).await {
            Some(frame) if frame.ends_with(sse::PING) => {}
            frame => return frame,
        }
    }
}

/// The next frame's event, which has to be there without waiting for anything but the poller.
async fn take_number(frames: &mut Frames) -> u64 {
    number(&take_frame(frames).await.unwrap()).expect("a frame without an id")
}

async fn all(mut frames: Frames) -> Vec<String> {
    let mut all = vec![];
    while let Some(frame) = take_frame(&mut frames).await {
        all.push(frame);
    }
    all
}

fn number(frame: &str) -> Option<u64> {
    frame.lines().next().unwrap().strip_prefix("id: ")?.parse().ok()
}

fn numbers(frames: &[String]) -> Vec<u64> {
    frames.iter().filter_map(|frame| number(frame)).collect()
}

fn is_done(frames: &[String]) -> bool {
    frames.last().is_some_and(|frame| frame == sse::DONE)
}

/// Lets what was aborted end.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

async fn assert_nothing_is_left(table: &Table, hub: &Arc<Hub>) {
    settle().await;
    assert_eq!(hub.n_followed(), 0);
    // A poller would own the log.
    assert_eq!(Arc::strong_count(&hub.log), 1);
    let n_reads = table.lock().reads.len();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(table.lock().reads.len(), n_reads);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_from_every_cursor_gets_exactly_the_rest_and_done() {
    let table = Table::new();
    (0..10).for_each(|_| table.write(step()));
    table.finish();
    let hub = table.hub();
    for cursor in 0..11 {
        let frames = all(table.open(&hub, cursor)).await;
        assert_eq!(numbers(&frames), (cursor + 1..=11).collect::<Vec<_>>());
        assert!(is_done(&frames));
    }
    assert!(table.lock().watched.is_empty(), "a finished job was marked as watched");
    assert_nothing_is_left(&table, &hub).await;
}

#[tokio::test(start_paused = true)]
async fn viewers_at_every_cursor_of_a_log_that_grows_get_exactly_the_rest_and_done() {
    let table = Table::new();
    (0..7).for_each(|_| table.write(step()));
    let hub = table.hub();
    let viewers = join_all((0..=7).map(|cursor| all(table.open(&hub, cursor))));
    let writer = async {
        for n in 0..40 {
            sleep(Duration::from_millis(n * 7 % 130)).await;
            table.write(step());
        }
        table.finish();
    };
    let (viewers, ()) = tokio::join!(viewers, writer);
    for (cursor, frames) in (0..).zip(viewers) {
        assert_eq!(numbers(&frames), (cursor + 1..=48).collect::<Vec<_>>());
        assert!(is_done(&frames));
    }
    assert_nothing_is_left(&table, &hub).await;
}

#[tokio::test(start_paused = true)]
async fn ten_viewers_have_one_poller_and_one_mark() {
    let table = Table::new();
    table.write(step());
    let hub = table.hub();
    let mut viewers: Vec<Frames> = (0..10).map(|_| table.open(&hub, 1)).collect();
    for viewer in &mut viewers {
        assert_eq!(take(viewer).await.unwrap(), [sse::RETRY, sse::PING].concat());
    }
    let follow = join_all(viewers.iter_mut().map(take_number));
    let write = async {
        sleep(Duration::from_secs(14)).await;
        let n_reads = table.lock().reads.len();
        assert_eq!(n_reads, 17, "what one viewer alone would cause");
        let watched = table.lock().watched.clone();
        assert_eq!(watched.len(), 3, "soon, and every five seconds");
        assert!(watched.iter().all(|(_, until)| *until == at() + Duration::from_secs(10)));
        table.write(step());
    };
    let (got, ()) = tokio::join!(follow, write);
    assert_eq!(got, [2; 10]);
    assert_eq!(hub.n_followed(), 1);
    drop(viewers);
    assert_nothing_is_left(&table, &hub).await;
    assert_eq!(table.lock().watched.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn dropped_viewers_leave_nothing_and_others_go_on() {
    let table = Table::new();
    let hub = table.hub();
    let unpolled = table.open(&hub, 0);
    let (mut gone, mut stays) = (table.open(&hub, 0), table.open(&hub, 0));
    take(&mut gone).await;
    assert!(timeout(Duration::from_secs(2), take_frame(&mut gone)).await.is_err());
    drop((unpolled, gone));
    table.write(step());
    assert_eq!(take_number(&mut stays).await, 1);
    drop(stays);
    assert_nothing_is_left(&table, &hub).await;

    // And whoever comes after them starts anew.
    let mut next = table.open(&hub, 0);
    assert_eq!(take_number(&mut next).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_viewer_falls_out_of_the_window_and_still_gets_everything() {
    let table = Table::new();
    let hub = table.hub_with(Settings { window_bytes: 400, ..Settings::default() });
    let (mut slow, mut quick) = (table.open(&hub, 0), table.open(&hub, 0));
    let follow_both = async {
        let mut got = vec![];
        for n in 1..=30 {
            table.write(step());
            assert_eq!(take_number(&mut quick).await, n);
            if n == 1 {
                got.push(take_number(&mut slow).await);
            }
        }
        got
    };
    let mut got = follow_both.await;
    let started = Instant::now();
    while got.len() < 29 {
        got.push(take_number(&mut slow).await);
    }
    assert_eq!(started.elapsed(), Duration::ZERO, "what is in the log is not waited for");
    table.finish();
    got.extend(numbers(&all(slow).await));
    assert_eq!(got, (1..=31).collect::<Vec<_>>());
    assert!(is_done(&all(quick).await));
    assert_nothing_is_left(&table, &hub).await;
}

#[tokio::test(start_paused = true)]
async fn text_that_piled_up_is_merged_and_text_that_comes_is_not_held_back() {
    let table = Table::new();
    table.lock().page = 100;
    ["a", "b", "c"].into_iter().for_each(|piece| table.write(text(piece)));
    let hub = table.hub();
    let (mut quick, mut slow) = (table.open(&hub, 0), table.open(&hub, 3));
    let frame = take_frame(&mut quick).await.unwrap();
    assert!(frame.starts_with("id: 3\nevent: output.delta\n") && frame.contains("\"text\":\"abc\""), "{frame}");
    let both = async { tokio::join!(take_number(&mut quick), take_number(&mut slow)) };
    let write = async {
        sleep(Duration::from_secs(1)).await;
        table.write(text("d"));
    };
    assert_eq!(tokio::join!(both, write).0, (4, 4));
    for (piece, number) in [("e", 5), ("f", 6), ("g", 7)] {
        table.write(text(piece));
        assert_eq!(take_number(&mut quick).await, number);
    }
    let backlog = take_frame(&mut slow).await.unwrap();
    assert!(backlog.starts_with("id: 7\n") && backlog.contains("\"text\":\"efg\""), "{backlog}");
}

#[tokio::test(start_paused = true)]
async fn a_hint_wakes_the_poller_at_once() {
    let table = Table::new();
    let hub = table.hub();
    let mut viewer = table.open(&hub, 0);
    take(&mut viewer).await;
    assert!(timeout(Duration::from_secs(10), take(&mut viewer)).await.is_err());
    // Midway between two polls.
    let last = table.lock().reads.last().unwrap().0;
    advance((last + Duration::from_millis(500)) - Instant::now()).await;
    let written_at = Instant::now();
    table.write(step());
    hub.hint(&job(), None);
    hub.hint(&"job_01JDA7Q3W5T8Z2K4M6N8P0R1S4".parse().unwrap(), None);
    assert_eq!(take_number(&mut viewer).await, 1);
    assert_eq!(written_at.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_told_of_events_polls_slowly_and_reads_at_once_what_was_too_much_to_tell() {
    let table = Table::new();
    let hub = table.hub();
    let mut viewer = table.open(&hub, 0);
    take(&mut viewer).await;
    table.write(step());
    hub.hint(&job(), table.told(1..=1));
    assert_eq!(take_number(&mut viewer).await, 1);
    let began = Instant::now();
    assert!(timeout(Duration::from_millis(2500), take(&mut viewer)).await.is_err());
    let polls: Vec<u128> = table.lock().reads.iter().map(|(at, ..)| (*at - began).as_millis()).collect();
    assert_eq!(polls, [1000, 2000]);
    let (many, began) = (2 * u64::try_from(MOST_HINTS).unwrap(), Instant::now());
    for number in 2..=usize::try_from(many).unwrap() {
        table.write(step());
        hub.hint(&job(), table.told(number..=number));
    }
    for number in 2..=many {
        assert_eq!(take_number(&mut viewer).await, number);
    }
    assert_eq!(began.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn events_that_a_hint_brings_are_not_read_again_and_what_it_leaves_out_is() {
    let table = Table::new();
    (0..9).for_each(|_| table.write(step()));
    let told = |numbers| table.told(numbers);
    let hub = table.hub();
    let mut viewer = table.open(&hub, 9);
    take(&mut viewer).await;
    (0..5).for_each(|_| table.write(step()));
    // Two of these are known.
    hub.hint(&job(), told(8..=12));
    for number in 10..=12 {
        assert_eq!(take_number(&mut viewer).await, number);
    }
    // All known; and then one that does not follow on what is.
    hub.hint(&job(), told(11..=12));
    assert_eq!(table.lock().reads.len(), 0);
    hub.hint(&job(), told(14..=14));
    assert_eq!(take_number(&mut viewer).await, 13);
    assert_eq!(take_number(&mut viewer).await, 14);
    assert_eq!(table.lock().reads.len(), 1);
    // The last event ends the stream, whoever brought it.
    table.finish();
    hub.hint(&job(), told(15..=15));
    let rest = all(viewer).await;
    assert_eq!(numbers(&rest), [15]);
    assert!(is_done(&rest));
    assert_eq!(table.lock().reads.len(), 1);
    assert_nothing_is_left(&table, &hub).await;
}

#[tokio::test(start_paused = true)]
async fn events_that_were_seen_with_the_head_are_not_read_again() {
    let table = Table::new();
    (0..5).for_each(|_| table.write(step()));
    let hub = table.hub();
    let mut recent = table.open_having_seen(3, &hub, 2);
    for number in 3..=5 {
        assert_eq!(take_number(&mut recent).await, number);
    }
    assert_eq!(table.lock().reads.len(), 0);
    let mut earlier = table.open_having_seen(3, &hub, 1);
    assert_eq!(take_number(&mut earlier).await, 2);
    assert_eq!(table.lock().reads.len(), 1);
    drop((recent, earlier));
    assert_nothing_is_left(&table, &hub).await;
}

#[tokio::test(start_paused = true)]
async fn that_a_job_is_watched_is_noted_when_what_its_head_says_runs_out() {
    let table = Table::new();
    for (known, first) in [(Duration::ZERO, 50), (Duration::from_secs(2), 750)] {
        table.lock().head.as_mut().unwrap().watched_until = at() + known;
        table.lock().watched.clear();
        let hub = table.hub();
        let _viewer = table.open(&hub, 0);
        let came = Instant::now();
        sleep(Duration::from_secs(6)).await;
        let noted: Vec<_> = table.lock().watched.iter().map(|(noted, _)| (*noted - came).as_millis()).collect();
        assert_eq!(noted, [first, first + 5000]);
    }
}

#[tokio::test(start_paused = true)]
async fn polling_is_quick_after_an_event_and_backs_off_without_hints() {
    let table = Table::new();
    let hub = table.hub();
    let mut viewer = table.open(&hub, 0);
    table.write(step());
    assert_eq!(take_number(&mut viewer).await, 1);
    let began = Instant::now();
    table.lock().reads.clear();
    assert!(timeout(Duration::from_secs(5), take(&mut viewer)).await.is_err());
    let polls: Vec<u128> = table.lock().reads.iter().map(|(at, ..)| (*at - began).as_millis()).collect();
    assert_eq!(polls, [50, 150, 350, 750, 1550, 2550, 3550, 4550]);
    assert!(table.lock().reads.iter().all(|(_, _, consistent)| !consistent));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_fails_ends_every_stream_without_a_word() {
    let table = Table::new();
    table.write(step());
    let hub = table.hub();
    let mut viewers: Vec<Frames> = (0..3).map(|_| table.open(&hub, 0)).collect();
    for viewer in &mut viewers {
        assert_eq!(take_number(viewer).await, 1);
        assert!(timeout(Duration::from_secs(3), take(viewer)).await.is_err());
    }
    table.lock().is_down = true;
    let ends = join_all(viewers.into_iter().map(all)).await;
    assert_eq!(ends, vec![Vec::<String>::new(); 3]);
    // One that comes now fails by itself.
    assert_eq!(all(table.open(&hub, 1)).await, Vec::<String>::new());
    assert_nothing_is_left(&table, &hub).await;

    // One that comes back goes on, also when an old one still hangs on to what has ended.
    table.lock().is_down = false;
    let old = table.open(&hub, 1);
    table.lock().is_down = true;
    let mut seen = table.open(&hub, 1);
    assert_eq!(take_frame(&mut seen).await, None);
    table.lock().is_down = false;
    table.finish();
    let frames = all(table.open(&hub, 1)).await;
    assert_eq!((numbers(&frames), is_done(&frames)), (vec![2], true));
    drop((old, seen));
    assert_nothing_is_left(&table, &hub).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_job_ends_its_streams_without_a_word_after_a_consistent_read() {
    let table = Table::new();
    let hub = table.hub();
    let mut viewer = table.open(&hub, 0);
    take(&mut viewer).await;
    assert!(timeout(Duration::from_secs(3), take(&mut viewer)).await.is_err());
    table.lock().head = None;
    assert_eq!(take_frame(&mut viewer).await, None);
    assert!(table.lock().reads.last().is_some_and(|(_, _, consistent)| *consistent));
}

#[tokio::test(start_paused = true)]
async fn a_finished_job_ends_its_stream_with_its_last_event_and_not_before() {
    let table = Table::new();
    table.write(step());
    let hub = table.hub();
    let mut viewer = table.open(&hub, 0);
    assert_eq!(take_number(&mut viewer).await, 1);
    table.is(finished(Owed { terminal: true, notification: true }));
    assert!(timeout(Duration::from_secs(10), take(&mut viewer)).await.is_err());
    let n_watched = table.lock().watched.len();
    let mut late = table.open(&hub, 1);
    take(&mut late).await;
    let write = async {
        sleep(Duration::from_secs(40)).await;
        table.write(terminal());
    };
    let (frames, late, ()) = tokio::join!(all(viewer), all(late), write);
    assert_eq!((numbers(&frames), is_done(&frames)), (vec![2], true));
    assert_eq!(late, frames);
    assert_eq!(table.lock().watched.len(), n_watched);
    assert_nothing_is_left(&table, &hub).await;
}

#[tokio::test(start_paused = true)]
async fn reads_that_lag_skip_nothing_and_end_nothing() {
    let table = Table::new();
    (0..5).for_each(|_| table.write(step()));
    table.lock().lag = 5;
    let hub = table.hub();
    let mut viewers = [table.open(&hub, 0), table.open(&hub, 2), table.open(&hub, 5)];
    // One of them is ahead of the poller.
    let write = async {
        for _ in 0..6 {
            sleep(Duration::from_millis(300)).await;
            let mut written = table.lock();
            written.lag = written.lag.saturating_sub(1);
        }
        table.finish();
    };
    let ([a, b, c], ()) = tokio::join!(
        async {
            let [a, b, c] = &mut viewers;
            tokio::join!(rest(a), rest(b), rest(c)).into()
        },
        write
    );
    assert_eq!(a, [1, 2, 3, 4, 5, 6]);
    assert_eq!(b, [3, 4, 5, 6]);
    assert_eq!(c, [6]);
}

async fn rest(frames: &mut Frames) -> Vec<u64> {
    let mut rest = vec![];
    while let Some(frame) = take_frame(frames).await {
        rest.extend(number(&frame));
    }
    rest
}

#[tokio::test(start_paused = true)]
async fn a_viewer_behind_the_pollers_beginning_reads_consistently_what_a_copy_lacks() {
    let table = Table::new();
    table.lock().page = 100;
    (0..5).for_each(|_| table.write(step()));
    let hub = table.hub();
    let mut ahead = table.open(&hub, 5);
    assert!(timeout(Duration::from_secs(3), take_frame(&mut ahead)).await.is_err());
    table.lock().lag = 3;
    let mut behind = table.open(&hub, 2);
    let started = Instant::now();
    assert_eq!(take_number(&mut behind).await, 3);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_past_the_end_waits_and_ends_with_the_job() {
    let table = Table::new();
    table.write(step());
    let hub = table.hub();
    let viewers = [u64::MAX, 3].map(|cursor| table.open(&hub, cursor));
    let other = table.open(&hub, 1);
    let write = async {
        sleep(Duration::from_secs(2)).await;
        table.finish();
    };
    let (beyond, other, ()) = tokio::join!(join_all(viewers.map(all)), all(other), write);
    assert_eq!(beyond, [[sse::DONE], [sse::DONE]]);
    assert_eq!(numbers(&other), [2]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_every_fifteen_seconds_and_at_once() {
    let table = Table::new();
    let hub = table.hub();
    let mut viewer = table.open(&hub, 0);
    let came = Instant::now();
    assert_eq!(take(&mut viewer).await.unwrap(), "retry: 1000\n\n: ping\n\n");
    assert_eq!(came.elapsed(), Duration::ZERO);
    for n in 1..=3 {
        assert_eq!(take(&mut viewer).await.unwrap(), ": ping\n\n");
        assert_eq!(came.elapsed().as_millis() / 15_000, n);
    }
    // An event is a sign of life, too.
    sleep(Duration::from_secs(10)).await;
    table.write(step());
    assert_eq!(number(&take(&mut viewer).await.unwrap()), Some(1));
    let told = Instant::now();
    assert_eq!(take(&mut viewer).await.unwrap(), ": ping\n\n");
    assert_eq!(told.elapsed().as_millis() / 15_000, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_after_five_minutes_between_two_events() {
    let table = Table::new();
    let hub = table.hub();
    let came = Instant::now();
    assert_eq!(all(table.open(&hub, 0)).await, Vec::<String>::new());
    assert_eq!(came.elapsed().as_millis() / 1000, 300);

    (0..9).for_each(|_| table.write(step()));
    let mut slow = table.open(&hub, 0);
    assert_eq!(take_number(&mut slow).await, 1);
    sleep(Duration::from_secs(300)).await;
    assert_eq!(take_frame(&mut slow).await, None);
    drop(slow);
    assert_nothing_is_left(&table, &hub).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_thirty_seconds_into_an_input_request() {
    let table = Table::new();
    let hub = table.hub();
    let mut first = table.open(&hub, 0);
    assert!(timeout(Duration::from_secs(100), take_frame(&mut first)).await.is_err());
    table.is(State::InputRequired { since: at(), remaining_ms: 1 });
    let asked = Instant::now();
    let second = async {
        sleep(Duration::from_secs(20)).await;
        let came = Instant::now();
        assert_eq!(all(table.open(&hub, 0)).await, Vec::<String>::new());
        came.elapsed()
    };
    let first = async {
        assert_eq!(take_frame(&mut first).await, None);
        asked.elapsed()
    };
    let (first, second) = tokio::join!(first, second);
    assert!((30_000..31_100).contains(&first.as_millis()), "{first:?}");
    assert_eq!(second.as_secs(), 30);

    // An answer in time, and it goes on.
    let mut third = table.open(&hub, 0);
    assert!(timeout(Duration::from_secs(20), take_frame(&mut third)).await.is_err());
    table.is(State::Running { deadline_at: at() });
    assert!(timeout(Duration::from_secs(60), take_frame(&mut third)).await.is_err());
    table.write(EventBody::JobRunning(JobState { status: Status::Running }));
    assert_eq!(take_number(&mut third).await, 1);
}

#[test]
fn nothing_more_comes_for_a_cursor_at_or_past_the_last_event() {
    let tail = |number, is_terminal| Tail { number, is_terminal, moved_at: None, is_stalled: false };
    let table = [
        (tail(7, true), 7, true),
        (tail(7, true), 8, true),
        (tail(7, true), u64::MAX, true),
        (tail(7, true), 6, false),
        (tail(7, true), 0, false),
        // Finished, with its last event owed.
        (tail(6, false), 6, false),
        (tail(0, false), 0, false),
    ];
    for (tail, cursor, expected) in table {
        assert_eq!(has_all(&tail, cursor), expected, "{tail:?} {cursor}");
    }
}

#[test]
fn a_job_is_there_for_its_owner_until_it_expires() {
    let head = head(State::Running { deadline_at: at() });
    let (ann, bob) = ("ann".parse().unwrap(), "bob".parse().unwrap());
    assert!(is_visible(&head, &ann, at()));
    assert!(!is_visible(&head, &bob, at()));
    assert!(!is_visible(&head, &ann, head.expires_at));
}

/// What is answered before the table is asked: this client has none.
async fn refused(query: &str, last_event_id: Option<&str>) -> (u16, String) {
    let config = aws_sdk_dynamodb::Config::builder().behavior_version_latest().build();
    let store = Store::new(aws_sdk_dynamodb::Client::from_conf(config), "t", LeaseTimes::default());
    let streams = Streams::new(store, tokens(), Arc::new(at), Settings::default());
    let mut request = Request::get(format!("/jobs/{}/stream{query}", job()));
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let response = router(streams).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    assert!(response.headers().contains_key("x-request-id"));
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn tokens() -> StreamTokens {
    StreamTokens::new(&[7; 32]).unwrap()
}

#[tokio::test]
async fn a_token_is_needed_and_a_cursor_is_a_number() {
    let issue = |at| tokens().issue(&job(), &"ann".parse().unwrap(), at, Duration::from_secs(60)).0;
    let (good, old) = (issue(at()), issue(Timestamp::MIN));
    let table = [
        (String::new(), None, 401, "token_invalid"),
        ("?token=v1.x.y".to_owned(), None, 401, "token_invalid"),
        (format!("?token={old}"), None, 401, "token_expired"),
        (format!("?token={good}&after=x"), None, 400, "`after` must be"),
        (format!("?token={good}&after=3"), Some("x"), 400, "`Last-Event-ID` must be"),
    ];
    for (query, last_event_id, status, words) in table {
        let (got, body) = refused(&query, last_event_id).await;
        assert_eq!(got, status, "{body}");
        assert!(body.contains(words), "{body}");
    }
}
