//! A lane by itself: what becomes of messages, whatever state the lane is in.

use std::time::Duration;

use domain::{
    id::{LaneName, WriterId},
    lane::{Disposition, Lane, Lease, LeaseTimes, Phase, Take, Waits},
    time::Timestamp,
};
use proptest::{option, prelude::*};

/// Any lane that can be written down, reachable or not.
pub(super) fn lanes() -> impl Strategy<Value = Lane> {
    let name = prop_oneof![Just(LaneName::main()), "[a-zA-Z0-9_.:-]{1,12}".prop_map(|name| name.parse().unwrap())];
    let place = (name, any::<bool>(), turns(), prop_oneof![Just(Phase::Model), Just(Phase::Tools)], 0..1_u64 << 60);
    let counts = (0..1000_u32, 0..1000_u32, 0..1000_u32, 0..1000_u32, any::<u32>().prop_map(|n| n >> 1));
    let lease = option::of((owners(), moments()).prop_map(|(owner, expires_at)| Lease { owner, expires_at }));
    let waits = (0..5_u32, option::of(moments()), moments(), any::<bool>());
    let waits = option::of(waits.prop_map(|(pending, since, until, announced)| Waits {
        pending,
        since,
        until,
        announced,
        on: None,
    }));
    let times = (option::of(moments()), option::of(moments()));
    (place, counts, lease, times, 0..1_u64 << 60, waits).prop_map(
        |((name, open, turn, phase, epoch), counts, lease, (due_at, at_work_since), output_bytes, waits)| {
            let (attempt, tries, backoffs, recoveries, sweeps) = counts;
            Lane {
                name,
                open,
                turn,
                phase,
                epoch,
                attempt,
                tries,
                backoffs,
                recoveries,
                sweeps,
                lease,
                due_at,
                output_bytes,
                requests: 0,
                log_end: None,
                node_id: None,
                waits,
                at_work_since,
            }
        },
    )
}

fn turns() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..5_u32, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

fn owners() -> impl Strategy<Value = WriterId> {
    prop_oneof![Just("me".parse().unwrap()), Just("other".parse().unwrap())]
}

/// Moments that are near each other, and some that are not.
pub(super) fn moments() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        6 => (0..100_000_i64).prop_map(Timestamp::from_millis),
        1 => any::<i64>().prop_map(Timestamp::from_millis),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_message_is_disposed_of_by_the_protocols_table(
        lane in lanes(), turn in turns(), again in any::<bool>(), now in moments()
    ) {
        let unowned = lane.lease.is_none();
        let expected = match lane.turn.checked_sub(turn) {
            _ if !lane.open => Disposition::Closed,
            None => Disposition::Keep,
            Some(0) if lane.is_waiting(now) => Disposition::Drop,
            Some(0) => {
                Disposition::ComeBack(lane.lease.as_ref().map_or(Duration::ZERO, |lease| lease.expires_at.since(now)))
            }
            Some(1) if again && unowned => Disposition::SendAgain(lane.turn),
            Some(_) => Disposition::Drop,
        };
        prop_assert_eq!(lane.dispose(turn, again, now), expected);
    }

    #[test]
    fn a_leased_lanes_continuation_is_never_sent_again(
        lane in lanes(), turn in turns(), again in any::<bool>(), now in moments()
    ) {
        let sent_again = matches!(lane.dispose(turn, again, now), Disposition::SendAgain(_));
        prop_assert!(!sent_again || (lane.open && lane.lease.is_none() && again && turn + 1 == lane.turn));
    }

    #[test]
    fn a_message_that_comes_back_when_told_to_finds_the_lease_ended(
        lane in lanes(), again in any::<bool>(), now in moments()
    ) {
        let times = LeaseTimes::default();
        let me: WriterId = "me".parse().unwrap();
        let Take::Dispose(disposition) = lane.take(lane.turn, again, &me, now, &times) else { return Ok(()) };
        if let Disposition::ComeBack(wait) = disposition {
            prop_assert!(wait > Duration::ZERO);
            prop_assert!(matches!(lane.take(lane.turn, true, &me, now + wait, &times), Take::Claim(_)));
        }
    }

    #[test]
    fn the_sweeper_never_takes_a_due_time_away_nor_asks_for_a_leased_lane(lane in lanes(), now in moments()) {
        let Some(swept) = lane.swept(now, None) else {
            prop_assert!(!lane.open || lane.due_at.is_none_or(|due| due > now));
            return Ok(());
        };
        prop_assert!(lane.open && lane.due_at.is_some_and(|due| due <= now));
        prop_assert_eq!(swept.ask, !lane.is_leased(now) && !lane.is_waiting(now));
        // What it waits for may expire sooner.
        let (push, expires) = (now + Duration::from_secs(30), lane.waits.as_ref().map(|waits| waits.until));
        let least = expires.filter(|until| *until > now).map_or(push, |until| until.min(push));
        prop_assert!(swept.lane.due_at >= Some(least));
        let only = Lane { due_at: lane.due_at, sweeps: lane.sweeps, ..swept.lane };
        prop_assert_eq!(only, lane);
    }
}
