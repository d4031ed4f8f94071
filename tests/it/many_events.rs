//! Ten thousand events in one job, and viewers all over it while it runs: each sees the same log from its cursor on.
//!
//! What it takes is printed (`cargo test -p tests --test it ten_thousand -- --nocapture`), and not asserted: that is the
//! machine's business.

use std::time::Instant;

use futures_util::future::join_all;
use local::demo_model::{Script, Turn};
use serde_json::{Value, json};
use tests::{Frame, System, assert_seen, replayed};
use tokio::sync::watch;

const PIECES: usize = 10_000;
const VIEWERS: u64 = 20;

/// Follows a job from after `cursor` to its end; comes back after every `leave_after` events, if that is given. With how
/// many connections that was.
async fn follow(system: &System, job: &Value, mut cursor: u64, leave_after: Option<usize>) -> (Vec<Frame>, usize) {
    let mut seen: Vec<Frame> = vec![];
    for connections in 1.. {
        let mut viewer = system.follow(job, cursor).await;
        if viewer.status == 204 {
            return (seen, connections);
        }
        assert_eq!(viewer.status, 200);
        let mut left = leave_after.unwrap_or(usize::MAX);
        while left > 0
            && let Some(frame) = viewer.next().await
        {
            cursor = frame.id;
            seen.push(frame);
            left -= 1;
        }
        if viewer.done {
            return (seen, connections);
        }
    }
    unreachable!("it comes to the end before there are so many connections")
}

/// Follows from the beginning and says how far the log is; then sees to it that all is seen.
async fn lead(system: &System, job: &Value, far: &watch::Sender<u64>) -> Vec<Frame> {
    let mut viewer = system.follow(job, 0).await;
    let mut seen = vec![];
    while let Some(frame) = viewer.next().await {
        far.send_replace(frame.id);
        seen.push(frame);
    }
    assert!(viewer.done);
    // Whoever still waits for a place that is not reached joins now.
    far.send_replace(u64::MAX);
    seen
}

#[expect(clippy::print_stdout, reason = "measures are shown, not asserted")]
async fn timed<T>(what: &str, future: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = future.await;
    println!("{what}: {} ms", begun.elapsed().as_millis());
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_events_are_the_same_for_viewers_all_over_them() {
    let system = System::start().await;
    // A thought between any two pieces: each of both is an event.
    let pieces: Vec<String> = (0..PIECES / 2).map(|n| format!("{n} é ")).collect();
    let text = pieces.concat();
    let turn = pieces.into_iter().fold(Turn::text(""), |turn, piece| turn.then_text([piece]).then_reasoning(["?"]));
    system.model.script("Ten thousand", Script::new().turn(turn));
    // On a busy machine it takes longer than a turn usually may.
    let limits = json!({"turn_seconds": 600, "deadline_seconds": 3600});
    let job = system.submit(json!({"input": "Ten thousand", "limits": limits})).await;

    let far = watch::Sender::new(0);
    let followers = (0..VIEWERS).map(|n| {
        let (system, job, mut far) = (&system, &job, far.subscribe());
        async move {
            // Each joins when the log has come to a place of its own, at a cursor anywhere: long past, where the log is
            // just being written, or not written yet.
            let place = n * PIECES as u64 / VIEWERS;
            far.wait_for(|far| *far >= place).await.unwrap();
            let cursor = match n % 4 {
                0 => 0,
                1 => place / 2,
                2 => place,
                _ => place + 300,
            };
            let leave_after = (n % 3 == 0).then_some(20 + usize::try_from(n).unwrap());
            let (seen, connections) = follow(system, job, cursor, leave_after).await;
            (n, cursor, seen, connections)
        }
    });
    let (led, followed) =
        timed("the job with its viewers", async { tokio::join!(lead(&system, &job, &far), join_all(followers)) }).await;

    let log = timed("the log in pages of 1000", system.log(&job)).await;
    assert!(log.len() >= PIECES, "only {} events", log.len());
    assert_eq!(replayed(&log), text);
    assert_seen(&log, 0, &led);
    for (n, cursor, seen, connections) in &followed {
        println!("viewer {n} from {cursor}: {} frames in {connections} connections", seen.len());
        assert_seen(&log, *cursor, seen);
    }
    system.wait_for_no_streams().await;

    let path = format!("/jobs/{}", job["id"].as_str().unwrap());
    let whole = timed("GET /jobs/{id}", system.get(&path)).await;
    assert_eq!((whole["status"].as_str(), whole["output"].as_str()), (Some("completed"), Some(text.as_str())));
    assert_eq!(whole["last_event"], log.len());
    timed("a late viewer of it all", follow(&system, &job, 0, None)).await;
    let at = |event: &Value| event["at"].as_str().unwrap().parse::<domain::time::Timestamp>().unwrap();
    let [.., turn_completed, job_completed] = log.as_slice() else { panic!("no end") };
    println!("{} events: {} ms", log.len(), at(job_completed).since(at(&log[0])).as_millis());
    println!("from the turn's last event to the job's: {} ms", at(job_completed).since(at(turn_completed)).as_millis());
}
