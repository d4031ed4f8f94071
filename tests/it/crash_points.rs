//! A job of several turns and tools, with something going wrong at each of its requests in turn: whatever it is, the job
//! ends as if nothing had happened.
//!
//! The scenario is run once clean, and its requests to the table and the queues are counted. Then, for each request and
//! each kind of fault, it is run anew with the fault there. Dying and losing an answer are different things: a process
//! that dies sends nothing more, and another one takes over when the lease is over; an answer that is lost makes the SDK
//! try again.

mod check;
mod run;
mod scenarios;
pub(crate) mod workflow;

use domain::id::JobId;
use local::emulator::fault::{Answer, Fault, Gate};
use store::Record;

use self::{
    check::{check, check_nothing_is_left, checked, one_conversation},
    run::Run,
    scenarios::{EVERY_POINT, People, SCENARIOS, Scenario},
};

/// Runs a scenario with a fault at the n-th request. Whether there was one.
async fn with_fault(scenario: Scenario, n: u64, fault: Fault) -> bool {
    let mut run = Run::new(scenario).await;
    run.world.faults.at(n, fault.clone());
    let (job, record) = run.whole().await;
    if !run.world.faults.was_hit() {
        return false;
    }
    checked(&mut run, &format!("{fault:?}"), &job, &record).await;
    if let Fault::DuplicateLate(gate) = &fault {
        gate.open();
        gate.wait_for_waiting(0).await;
        nothing_changes(&mut run, &job, &record).await;
    }
    check_nothing_is_left(&run).await;
    true
}

/// Runs a scenario in which a worker is held up at its n-th request until another has done everything; then it goes on,
/// as a zombie. Whether there was such a request.
async fn with_zombie(scenario: Scenario, n: u64, hold: fn(Gate) -> Fault) -> bool {
    let mut run = Run::new(scenario).await;
    let gate = Gate::new();
    run.world.faults.at(n, hold(gate.clone()));
    run.held_at = Some(gate);
    let (job, record) = run.whole().await;
    if !run.world.faults.was_hit() {
        return false;
    }
    checked(&mut run, "a zombie", &job, &record).await;
    check_nothing_is_left(&run).await;
    true
}

/// Whatever still arrives when everything is over changes nothing.
async fn nothing_changes(run: &mut Run, job: &JobId, before: &Record) {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let after = run.come_to_rest(job).await;
    assert_eq!((&after.events, &after.turns), (&before.events, &before.turns), "something late changed the job");
    assert_eq!(after.head.state, before.head.state);
}

/// Runs each scenario with something going wrong at the first request, at the second, and so on, until a run has no more
/// requests: how many there are depends a little on how streamed text falls into batches.
macro_rules! at_every_request {
    (|$scenario:ident, $n:ident| $run:expr) => {
        for $scenario in SCENARIOS {
            let stride = if std::env::var_os(EVERY_POINT).is_some() { 1 } else { $scenario.stride };
            let (mut $n, mut n_tried) = (1, 0);
            while $run.await {
                $n += stride;
                n_tried += 1;
            }
            assert!($n > $scenario.n_requests, "only {} requests: {}", $n, $scenario.text);
            println!("{}, every {stride} of {}: {n_tried} points tried and hit, all survived", $scenario.name, $n);
        }
    };
}

#[tokio::test]
async fn without_a_fault_everything_is_done_once() {
    for scenario in SCENARIOS {
        let mut run = Run::new(scenario).await;
        let (_, record) = run.whole().await;
        let outside = run.outside.lock().unwrap();
        check(&scenario, &record, &outside);
        one_conversation(&scenario, &record, &run.world);
        let n_called = |name: &str| scenario.calls.iter().filter(|call| **call == name).count();
        let n_pushed = if scenario.people == People::Away { 0 } else { n_called("push") };
        assert_eq!((outside.looked as usize, outside.pushed as usize), (n_called("look"), n_pushed));
        assert_eq!(record.head.metrics.recoveries, 0);
    }
}

#[tokio::test]
async fn a_process_may_die_before_any_of_its_requests() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::CutBefore));
}

#[tokio::test]
async fn a_process_may_die_after_any_of_its_requests() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::CutAfter));
}

#[tokio::test]
async fn any_answer_may_be_lost() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::LoseAnswer));
}

#[tokio::test]
async fn any_request_may_be_lost() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::LoseRequest));
}

#[tokio::test]
async fn any_request_may_arrive_twice() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::Duplicate(Answer::First)));
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::Duplicate(Answer::Second)));
}

#[tokio::test]
async fn a_copy_of_any_request_may_arrive_when_all_is_over() {
    at_every_request!(|scenario, n| with_fault(scenario, n, Fault::DuplicateLate(Gate::new())));
}

#[tokio::test]
async fn a_worker_may_be_held_up_before_any_of_its_requests_until_another_has_done_everything() {
    at_every_request!(|scenario, n| with_zombie(scenario, n, Fault::Hold));
}

#[tokio::test]
async fn a_worker_may_be_held_up_after_any_of_its_requests_until_another_has_done_everything() {
    at_every_request!(|scenario, n| with_zombie(scenario, n, Fault::HoldAnswer));
}
