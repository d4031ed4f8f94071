//! The state machine: what commands may make of a job.

use std::{collections::BTreeSet, mem::discriminant, time::Duration};

use domain::{
    job::{Command, Ending, FinishReason, Job, Owed, Rejected, State, Status, after, decide, evolve},
    lane::{Disposition, Fence, Lane},
    limits::MAX_TRIES,
    time::Timestamp,
};
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::history::{Action, Dice, Life, Moment, Step, failed, lane_name, live, lives, new_job, step, times};

/// Every change of status that a command can bring about. Nothing leads to `InputRequired` yet.
const TRANSITIONS: [(Status, Status); 6] = [
    (Status::Queued, Status::Running),
    (Status::Queued, Status::Failed),
    (Status::Queued, Status::Cancelled),
    (Status::Running, Status::Completed),
    (Status::Running, Status::Failed),
    (Status::Running, Status::Cancelled),
];

/// Every write that asks for a lease, under this fence.
fn fenced(job: &Job, fence: &Fence) -> [Command; 5] {
    let (fence, inbox) = (|| fence.clone(), job.head.inbox);
    [
        Command::Checkpoint { fence: fence(), text_bytes: 1 },
        Command::Advance { fence: fence(), log_end: 7 },
        Command::Yield { fence: fence(), delay: Duration::ZERO, upstream: false },
        Command::Complete { fence: fence(), inbox, reason: FinishReason::Stop },
        Command::Fail { fence: fence(), ending: failed(FinishReason::Error) },
    ]
}

proptest! {
    #[test]
    fn a_status_changes_only_by_the_table(steps in lives()) {
        for moment in live(&steps) {
            let change = (moment.before.head.status(), moment.after.head.status());
            prop_assert!(change.0 == change.1 || TRANSITIONS.contains(&change), "{change:?} by {:?}", moment.action);
        }
    }

    #[test]
    fn a_finished_job_changes_only_in_what_it_owes(steps in lives()) {
        for moment in live(&steps) {
            let State::Finished { ending, at, owed } = &moment.before.head.state else { continue };
            let left = match moment.accepted() {
                Some(Command::LogEnded) => Owed { terminal: false, ..*owed },
                Some(Command::Notified) => Owed { notification: false, ..*owed },
                Some(other) => return Err(TestCaseError::fail(format!("{other:?} of a finished job was accepted"))),
                None => *owed,
            };
            let mut expected = moment.before.clone();
            expected.head.state = State::Finished { ending: ending.clone(), at: *at, owed: left };
            prop_assert_eq!(&moment.after, &expected);
            prop_assert_eq!(moment.after.head.due_at(times().margin).is_some(), left.any());
        }
    }

    #[test]
    fn an_end_owes_its_event_and_its_notification_and_starts_the_retention(steps in lives()) {
        for moment in live(&steps) {
            if moment.before.head.status().is_finished() || !moment.after.head.status().is_finished() { continue }
            prop_assert_eq!(moment.after.head.owed(), Owed { terminal: true, notification: true });
            prop_assert_eq!(moment.after.head.finished_at(), Some(moment.now));
            prop_assert_eq!(moment.after.head.expires_at, moment.now + Duration::from_secs(3600));
        }
    }

    #[test]
    fn the_deadline_starts_with_the_first_claim_and_never_moves(steps in lives()) {
        let mut began = None;
        for moment in live(&steps) {
            if moment.claimed().is_some() {
                began.get_or_insert(moment.now);
            }
            prop_assert_eq!(moment.after.head.started_at, began);
            if let State::Running { deadline_at } = moment.after.head.state {
                prop_assert_eq!(Some(deadline_at), began.map(|at| at + Duration::from_secs(300)));
            }
        }
    }

    #[test]
    fn an_epoch_rises_by_one_with_each_claim_return_and_close_and_with_nothing_else(steps in lives()) {
        for moment in live(&steps) {
            for (before, after) in moment.lanes() {
                let raised = match moment.accepted() {
                    Some(Command::Claim { lane, .. }) => *lane == before.name,
                    Some(Command::Yield { fence, .. }) => fence.lane == before.name,
                    _ => before.open && !after.open,
                };
                prop_assert_eq!(after.epoch, before.epoch + u64::from(raised));
            }
        }
    }

    #[test]
    fn a_turn_never_falls_and_no_two_claims_of_a_lane_are_the_same_attempt(steps in lives()) {
        let mut attempts = BTreeSet::new();
        for moment in live(&steps) {
            for (before, after) in moment.lanes() {
                prop_assert!((after.turn, after.attempt) >= (before.turn, before.attempt), "{before:?} -> {after:?}");
                prop_assert!(after.turn - before.turn <= 1);
            }
            if let Some((_, lane)) = moment.claimed() {
                prop_assert!(attempts.insert((lane.name.clone(), lane.turn, lane.attempt)), "twice: {lane:?}");
            }
        }
    }

    #[test]
    fn of_all_the_fences_ever_given_out_only_the_holders_is_accepted(steps in lives()) {
        let mut granted: Vec<Fence> = vec![];
        for moment in live(&steps) {
            granted.extend(moment.granted());
            for fence in &granted {
                let lane = &moment.after.lanes[&fence.lane];
                let holds = lane.fence().as_ref() == Some(fence);
                prop_assert!(!holds || !moment.after.head.status().is_finished(), "a finished job's lane is held");
                for command in fenced(&moment.after, fence) {
                    let expected = match moment.after.head.status() {
                        status if status.is_finished() => Err(Rejected::Finished(status)),
                        _ if holds => Ok(()),
                        _ => Err(Rejected::LeaseLost(fence.lane.clone())),
                    };
                    prop_assert_eq!(decide(&moment.after, &command, moment.now, &times()).map(|_| ()), expected);
                }
            }
        }
    }

    #[test]
    fn a_fence_with_another_name_epoch_or_lane_is_refused(steps in lives()) {
        for moment in live(&steps) {
            if moment.after.head.status().is_finished() { continue }
            for fence in moment.after.lanes.values().filter_map(Lane::fence) {
                let lost = Rejected::LeaseLost(fence.lane.clone());
                let wrong = [
                    (Fence { epoch: fence.epoch + 1, ..fence.clone() }, lost.clone()),
                    (Fence { epoch: fence.epoch - 1, ..fence.clone() }, lost.clone()),
                    (Fence { owner: "somebody-else".parse().unwrap(), ..fence.clone() }, lost),
                    (Fence { lane: lane_name(3), ..fence }, Rejected::NoSuchLane(lane_name(3))),
                ];
                for (fence, refusal) in wrong {
                    for command in fenced(&moment.after, &fence) {
                        let decided = decide(&moment.after, &command, moment.now, &times());
                        prop_assert_eq!(decided, Err(refusal.clone()));
                    }
                }
            }
        }
    }

    #[test]
    fn a_lane_is_claimed_exactly_when_it_is_open_unleased_and_at_the_messages_turn(steps in lives()) {
        for moment in live(&steps) {
            let Action::Asked(Command::Claim { lane, turn, again, owner }, result) = &moment.action else { continue };
            let Some(before) = moment.before.lanes.get(lane) else {
                prop_assert_eq!(result, &Err(Rejected::NoSuchLane(lane.clone())));
                continue;
            };
            if before.open && before.turn == *turn && !before.is_leased(moment.now) {
                let expires_at = moment.now + times().length;
                let after = &moment.after.lanes[lane];
                prop_assert!(after.is_held_by(owner, before.epoch + 1) && after.is_leased(moment.now));
                prop_assert_eq!(after.lease.as_ref().map(|lease| lease.expires_at), Some(expires_at));
                prop_assert_eq!(after.recoveries - before.recoveries, u32::from(before.lease.is_some()));
                prop_assert_eq!(moment.after.head.status(), Status::Running);
            } else {
                let disposition = before.dispose(*turn, *again, moment.now);
                prop_assert_eq!(result, &Err(Rejected::NotClaimable(disposition)));
            }
        }
    }

    /// A claim is conditional on the turn and epoch that were read, and on there being no live lease. A copy of it that
    /// arrives late, refused before or not, must never find its condition true again: it would leave a lease behind in
    /// the name of an invocation that is gone.
    #[test]
    fn a_turn_and_epoch_once_leased_are_never_free_again(steps in lives()) {
        let mut leased = BTreeSet::new();
        for moment in live(&steps) {
            for lane in moment.after.lanes.values() {
                let place = (lane.name.clone(), lane.turn, lane.epoch);
                if lane.lease.is_some() {
                    leased.insert(place);
                } else {
                    prop_assert!(!lane.open || !leased.contains(&place), "free again: {lane:?}");
                }
            }
        }
    }

    #[test]
    fn after_the_end_every_lane_is_closed_and_nothing_can_be_claimed(steps in lives(), again in any::<bool>()) {
        for moment in live(&steps) {
            if !moment.after.head.status().is_finished() {
                prop_assert!(moment.after.lanes.values().all(|lane| lane.open));
                continue;
            }
            for lane in moment.after.lanes.values() {
                prop_assert!(!lane.open && lane.due_at.is_none() && lane.lease.is_none(), "{lane:?}");
                for turn in [0, 1, lane.turn, lane.turn + 1] {
                    let (name, owner) = (lane.name.clone(), "late".parse().unwrap());
                    let claim = Command::Claim { lane: name, turn, again, owner };
                    let much_later = moment.now + Duration::from_secs(86_400);
                    for now in [moment.now, much_later] {
                        let refused = Err(Rejected::NotClaimable(Disposition::Closed));
                        prop_assert_eq!(decide(&moment.after, &claim, now, &times()), refused);
                    }
                    prop_assert_eq!(lane.swept(much_later, None), None);
                }
            }
        }
    }

    #[test]
    fn a_lane_is_due_at_some_time_exactly_while_it_is_open(steps in lives()) {
        for moment in live(&steps) {
            for lane in moment.after.lanes.values() {
                prop_assert_eq!(lane.due_at.is_some(), lane.open);
            }
        }
    }

    #[test]
    fn a_lane_that_was_just_claimed_is_not_due_before_its_lease_ends(steps in lives()) {
        for moment in live(&steps) {
            if let Some((_, lane)) = moment.claimed() {
                prop_assert!(lane.due_at > lane.lease.as_ref().map(|lease| lease.expires_at));
            }
        }
    }

    /// The worker that finds itself out of tries ends the job and does nothing else: so do the workers here.
    #[test]
    fn a_turn_is_tried_six_times_at_most_and_the_sixth_ends_the_job(steps in unlucky_lives()) {
        let life = unlucky(&steps);
        for moment in &life.moments {
            for lane in moment.after.lanes.values() {
                prop_assert!(lane.tries <= MAX_TRIES + 1, "{lane:?}");
                prop_assert!(lane.tries <= lane.attempt);
            }
        }
        let gave_up = life.job.lanes.values().any(|lane| lane.tries > MAX_TRIES);
        prop_assert!(!gave_up || life.job.head.status().is_finished());
    }

    #[test]
    fn only_an_orderly_end_of_a_claim_takes_back_its_try(steps in lives()) {
        for moment in live(&steps) {
            for (before, after) in moment.lanes() {
                let tries = match moment.accepted() {
                    Some(Command::Claim { lane, .. }) if *lane == before.name => before.tries + 1,
                    Some(Command::Advance { fence, .. } | Command::Yield { fence, .. }) if fence.lane == before.name => 0,
                    _ => before.tries,
                };
                prop_assert_eq!(after.tries, tries);
            }
        }
    }

    #[test]
    fn the_accepted_facts_alone_make_the_live_job_again(steps in lives()) {
        let moments = live(&steps);
        let mut again = new_job();
        for moment in &moments {
            match &moment.action {
                Action::Asked(_, Ok(facts)) => {
                    again = facts.iter().try_fold(again, evolve).expect("what happened can happen");
                }
                Action::Asked(_, Err(_)) => {}
                Action::Renewed(lane) | Action::Swept(lane) => {
                    again.lanes.insert(lane.clone(), moment.after.lanes[lane].clone());
                }
            }
            prop_assert_eq!(&again, &moment.after);
        }
    }

    #[test]
    fn a_job_is_completed_only_by_an_answer_that_has_read_every_message(steps in lives()) {
        let mut posted = 0;
        for moment in live(&steps) {
            posted += u32::from(moment.accepted() == Some(&Command::Post));
            prop_assert_eq!(moment.after.head.inbox, posted);
            if let Some(Command::Complete { inbox, .. }) = moment.accepted() {
                prop_assert_eq!(*inbox, posted);
            }
            if moment.after.head.status().is_finished() { continue }
            for fence in moment.after.lanes.values().filter_map(Lane::fence) {
                for inbox in [posted.wrapping_sub(1), posted + 1] {
                    let command = Command::Complete { fence: fence.clone(), inbox, reason: FinishReason::Stop };
                    prop_assert_eq!(after(&moment.after, &command, moment.now, &times()), Err(Rejected::MessageWaits));
                }
                let command = Command::Complete { fence, inbox: posted, reason: FinishReason::Stop };
                let job = after(&moment.after, &command, moment.now, &times()).expect("it has read everything");
                prop_assert_eq!(job.head.status(), Status::Completed);
            }
        }
    }

    #[test]
    fn a_turns_text_is_counted_once_however_often_its_checkpoint_arrives(steps in lives()) {
        let mut counted = BTreeSet::new();
        for moment in live(&steps) {
            for (before, after) in moment.lanes() {
                let added = after.output_bytes - before.output_bytes;
                if added > 0 {
                    let Some(Command::Checkpoint { text_bytes, .. }) = moment.accepted() else {
                        return Err(TestCaseError::fail(format!("{:?} added text", moment.action)));
                    };
                    prop_assert_eq!(added, *text_bytes);
                    prop_assert!(counted.insert((after.name.clone(), after.turn)), "counted twice: {after:?}");
                }
            }
        }
    }

    /// Head and lanes are separate items: whoever reads one before the end and the other after it has no job.
    #[test]
    fn a_claim_decided_on_a_lane_from_before_the_end_is_refused_as_impossible(steps in lives()) {
        let moments = live(&steps);
        let Some(end) = moments.last().filter(|moment| moment.after.head.status().is_finished()) else { return Ok(()) };
        for (command, torn, now) in torn(&moments, &end.after) {
            prop_assert!(matches!(after(&torn, &command, now, &times()), Err(Rejected::Illegal(_))));
        }
    }
}

/// Claims as they would be decided on a finished job's head and a lane as it was before they were accepted.
fn torn(moments: &[Moment], end: &Job) -> Vec<(Command, Job, Timestamp)> {
    let torn = |moment: &Moment| {
        let (before, _) = moment.claimed()?;
        let mut job = end.clone();
        job.lanes.insert(before.name.clone(), before.clone());
        Some((moment.accepted()?.clone(), job, moment.now))
    };
    moments.iter().filter_map(torn).collect()
}

/// Lives in which workers mostly die.
fn unlucky_lives() -> impl Strategy<Value = Vec<Step>> {
    let unlucky_step = |n| {
        let mut dice = Dice(n);
        match dice.of(17) {
            0..8 => Step::Clock(dice.of(12) as i64 + 8),
            8..16 => Step::Claim { lane: dice.of(2), turn_off_by: 0, again: true },
            _ => step(dice),
        }
    };
    vec(any::<u32>(), 1..60).prop_map(move |numbers| numbers.into_iter().map(unlucky_step).collect())
}

fn unlucky(steps: &[Step]) -> Life {
    let mut life = Life::new();
    for step in steps {
        let known = life.moments.len();
        life.step(step);
        let claimed = life.moments[known..].iter().find_map(Moment::claimed).map(|(_, lane)| lane.clone());
        if let Some(lane) = claimed.filter(Lane::is_out_of_tries) {
            life.ask(Command::Fail { fence: lane.fence().unwrap(), ending: failed(FinishReason::Error) });
            assert!(life.moments.last().unwrap().accepted().is_some(), "whoever is out of tries can end the job");
        }
    }
    life
}

#[test]
fn a_job_that_waits_for_a_person_can_be_ended() {
    let mut job = new_job();
    let now = job.head.created_at;
    job.head.state = State::InputRequired { since: now, remaining_ms: 1000 };
    for ending in [Ending::Cancelled, failed(FinishReason::Deadline)] {
        let over = after(&job, &Command::End { ending: ending.clone() }, now, &times()).unwrap();
        assert_eq!(over.head.ending(), Some(&ending));
        assert!(over.lanes.values().all(|lane| !lane.open));
    }
}

/// Without this, each property above could hold of nothing.
#[test]
fn two_thousand_lives_get_to_every_status_refusal_fact_and_disposition() {
    let mut runner = TestRunner::deterministic();
    let lives = lives();
    let mut statuses = BTreeSet::new();
    let mut refusals = vec![];
    let mut facts = vec![];
    let mut dispositions = vec![];
    let (mut transitions, mut ends_under_work, mut taken_over, mut deep, mut settled) = (BTreeSet::new(), 0, 0, 0, 0);
    for _ in 0..2000 {
        let moments = live(&lives.new_tree(&mut runner).unwrap().current());
        for moment in &moments {
            let change = (moment.before.head.status(), moment.after.head.status());
            statuses.extend([change.0.as_str(), change.1.as_str()]);
            if change.0 != change.1 {
                transitions.insert((change.0.as_str(), change.1.as_str()));
            }
            match &moment.action {
                Action::Asked(_, Ok(new)) => new.iter().for_each(|fact| note(&mut facts, discriminant(fact))),
                Action::Asked(_, Err(rejected)) => {
                    note(&mut refusals, discriminant(rejected));
                    if let Rejected::NotClaimable(disposition) = rejected {
                        note(&mut dispositions, discriminant(disposition));
                    }
                }
                _ => {}
            }
            let n_leased = moment.before.lanes.values().filter(|lane| lane.is_leased(moment.now)).count();
            ends_under_work += usize::from(change.1.is_finished() && !change.0.is_finished() && n_leased > 1);
            taken_over += usize::from(moment.claimed().is_some_and(|(before, _)| before.lease.is_some()));
        }
        let end = moments.last().map(|moment| &moment.after);
        deep += usize::from(end.is_some_and(|job| job.lanes.values().any(|lane| lane.turn > 3)));
        settled += usize::from(end.is_some_and(|job| job.head.status().is_finished() && !job.head.owed().any()));
        if let Some(job) = end.filter(|job| job.head.status().is_finished()) {
            for (command, torn, now) in torn(&moments, job) {
                note(&mut refusals, discriminant(&after(&torn, &command, now, &times()).unwrap_err()));
            }
        }
    }
    let expected: Vec<&str> =
        Status::ALL.into_iter().filter(|status| *status != Status::InputRequired).map(Status::as_str).collect();
    assert_eq!(statuses, expected.into_iter().collect(), "a status that became reachable belongs into TRANSITIONS");
    assert_eq!(transitions, TRANSITIONS.into_iter().map(|(from, to)| (from.as_str(), to.as_str())).collect());
    assert_eq!(refusals.len(), 7, "each way of refusing a command");
    assert_eq!(facts.len(), 10, "each fact");
    assert_eq!(dispositions.len(), 5, "each way of disposing of a message");
    for (what, count) in [
        ("jobs ended under several workers", ends_under_work),
        ("lanes taken over", taken_over),
        ("jobs of four turns", deep),
        ("jobs ended and settled", settled),
    ] {
        assert!(count >= 100, "only {count} {what}");
    }
}

fn note<T: PartialEq>(seen: &mut Vec<T>, one: T) {
    if !seen.contains(&one) {
        seen.push(one);
    }
}

#[test]
fn unlucky_lives_run_out_of_tries() {
    let mut runner = TestRunner::deterministic();
    let lives = unlucky_lives();
    let n_gave_up = (0..500)
        .filter(|_| {
            let life = unlucky(&lives.new_tree(&mut runner).unwrap().current());
            life.job.lanes.values().any(Lane::is_out_of_tries)
        })
        .count();
    assert!(n_gave_up >= 100, "only {n_gave_up} of 500");
}
