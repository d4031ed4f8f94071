//! The simulation: seeds in every weather, and the protocol with one rule removed, which some seed must find out.
//!
//! `NIGHTSHIFT_SEEDS=1000 cargo test -p tests --test it simulation` runs so many seeds in each weather, and
//! `NIGHTSHIFT_SEED=7 cargo test -p tests --test it simulation` only that one.

use std::{ops::Range, panic, thread};

use startup::env;
use tests::simulation::{Report, Weather, mutation::Mutation, run};

/// Seeds of each weather in the normal test run.
const SEEDS: u64 = 3;

#[test]
fn the_same_seed_gives_the_same_trace() {
    for (seed, weather) in (1..).zip([Weather::STORM, Weather::ZOMBIES, Weather::UPSTREAM, Weather::CANCELLED]) {
        let (one, two) = (run(seed, weather, None), run(seed, weather, None));
        assert_same(&one.trace, &two.trace);
        assert_same(&one.sent, &two.sent);
    }
    assert_ne!(run(1, Weather::STORM, None).trace, run(2, Weather::STORM, None).trace);
}

fn assert_same(one: &[String], two: &[String]) {
    if let Some(n) = (0..one.len().max(two.len())).find(|n| one.get(*n) != two.get(*n)) {
        let before = one[n.saturating_sub(5)..n].join("\n");
        panic!("the traces part after\n{before}\nwith\n{:?}\nand\n{:?}", one.get(n), two.get(n));
    }
}

#[test]
fn whatever_the_weather_a_job_ends_as_if_nothing_had_happened() {
    let one = env::parsed_optional::<u64>("NIGHTSHIFT_SEED", "a number").unwrap();
    let many = env::parsed_optional::<u64>("NIGHTSHIFT_SEEDS", "a number").unwrap();
    let seeds = one.map_or(0..many.unwrap_or(SEEDS), |seed| seed..seed + 1);
    let halves: [&[Weather]; 2] = {
        let (one, other) = Weather::ALL.split_at(Weather::ALL.len() / 2);
        [one, other]
    };
    let mut troubles = 0;
    thread::scope(|scope| {
        let runs = halves.map(|weathers| {
            let seeds = seeds.clone();
            scope.spawn(move || weathers.iter().map(|weather| all_well(seeds.clone(), *weather)).sum::<u64>())
        });
        for run in runs {
            troubles += run.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        }
    });
    eprintln!("{} runs, {troubles} troubles, all survived", (seeds.end - seeds.start) * Weather::ALL.len() as u64);
    assert!(one.is_some() || troubles > 0);
}

#[test]
fn in_calm_weather_every_turn_is_done_at_its_first_attempt() {
    let (calm, people) = (Weather::CALM, Weather { people: true, ..Weather::CALM });
    for (seed, weather) in [(1, calm), (2, calm), (3, people), (4, Weather { workflow: true, ..people })] {
        let Report { violations, broken, trace, .. } = run(seed, weather, None);
        assert_eq!((violations, broken), (vec![], vec![]), "seed {seed}");
        let again = trace.iter().find(|line| line.contains(" gives back "));
        assert_eq!(again, None, "seed {seed}: {}", trace.join("\n"));
    }
}

/// Runs the seeds and says how many requests met trouble.
fn all_well(seeds: Range<u64>, weather: Weather) -> u64 {
    let mut all = 0;
    for seed in seeds {
        let Report { violations, broken, trace, troubles, .. } = run(seed, weather, None);
        assert!(
            violations.is_empty() && broken.is_empty(),
            "{}\n\nseed {seed}, {}: {violations:#?} {broken:#?}\nNIGHTSHIFT_SEED={seed} cargo test -p tests --test it simulation",
            trace.join("\n"),
            weather.name,
        );
        all += troubles;
    }
    all
}

/// The rule is missed by one of sixty seeds, to which nothing happens with it; one that is known to do so comes first. A
/// panic, or a request that is no request any more, says nothing of the rule.
fn is_missed(mutation: Mutation, first: u64) -> String {
    let weather = Mutation::ALL.iter().find(|(known, _)| *known == mutation).expect("it has a weather").1;
    let found = (first..first + 60).find_map(|seed| {
        let Report { violations, broken, .. } = run(seed, weather, Some(mutation));
        violations.into_iter().next().filter(|_| broken.is_empty()).map(|violation| (seed, violation))
    });
    let (seed, violation) = found.unwrap_or_else(|| panic!("{mutation:?} is not found by sixty seeds from {first} on"));
    all_well(seed..seed + 1, weather);
    format!("{mutation:?}: seed {seed}: {violation}")
}

/// A test for each rule: what it is called, the rule that is removed, and the seed with which to begin.
macro_rules! missed {
    ($($name:ident: $mutation:ident from $first:literal;)*) => {
        $(
            #[test]
            fn $name() {
                eprintln!("{}", is_missed(Mutation::$mutation, $first));
            }
        )*
    };
}

missed! {
    events_must_not_overwrite_one_another: EventsOverwrite from 18;
    a_claim_must_have_a_condition: ClaimUnconditional from 29;
    a_claim_must_ask_whether_the_lane_is_as_it_was_read: ClaimIgnoresClosed from 15;
    a_claim_must_ask_for_the_epoch: ClaimWithoutEpoch from 5;
    a_checkpoint_must_be_fenced: CheckpointUnfenced from 18;
    a_commit_must_be_fenced: CommitUnfenced from 57;
    the_start_of_a_tool_must_be_fenced: StartedUnfenced from 69;
    the_record_of_a_call_must_have_a_condition: CallsUnconditional from 17;
    the_end_of_a_call_must_be_recorded_by_who_runs_it: FinishUnconditional from 56;
    the_last_commit_must_look_at_the_inbox: FinalIgnoresInbox from 4;
    every_end_must_close_the_lanes: EndLeavesLanesOpen from 0;
    the_sweeper_must_not_remove_a_due_time: SweeperClearsDue from 2;
    a_commit_must_record_what_it_owes: ContinuationNotOwed from 2;
    the_last_commit_must_record_what_it_owes: TerminalNotOwed from 50;
    a_restart_must_take_back_text: RestartVoidsNothing from 5;
    a_restart_must_keep_recorded_text: RestartVoidsEverything from 5;
    an_append_must_look_at_its_lease: AppendWithoutLease from 106;
    the_tail_must_be_read_before_the_claim: TailAfterClaim from 2;
    the_head_must_count_the_lanes_at_work: HeadUncounted from 0;
    an_answer_must_be_counted: PendingStays from 7;
}
