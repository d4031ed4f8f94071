//! What CloudWatch reads. A process of its own: who counts is chosen once.
#![cfg(feature = "metrics")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value, json};

#[test]
fn what_was_counted_is_one_line_for_each_set_of_dimensions_and_is_written_once() {
    signals::count::job_started();
    let metrics = startup::metrics::to("Nightshift/test").unwrap();
    signals::count::job_started();
    signals::count::job_started();
    signals::count::turn(signals::count::TurnOutcome::Committed, std::time::Duration::from_millis(40));
    signals::count::turn(signals::count::TurnOutcome::Committed, std::time::Duration::from_millis(2));
    let mut lines: Vec<Value> = read(metrics);
    for line in &mut lines {
        let stamp = line["_aws"]["Timestamp"].take();
        assert!(stamp.as_u64().unwrap() > 1_700_000_000_000);
    }
    assert_eq!(
        lines,
        [
            json!({
                "_aws": {"Timestamp": null, "CloudWatchMetrics": [{
                    "Namespace": "Nightshift/test", "Dimensions": [[]],
                    "Metrics": [{"Name": "jobs_started", "Unit": "Count"}, {"Name": "turn_time", "Unit": "Milliseconds"}],
                }]},
                "jobs_started": 2, "turn_time": [40.0, 2.0],
            }),
            json!({
                "_aws": {"Timestamp": null, "CloudWatchMetrics": [{
                    "Namespace": "Nightshift/test", "Dimensions": [["outcome"]],
                    "Metrics": [{"Name": "turns", "Unit": "Count"}],
                }]},
                "outcome": "committed", "turns": 2,
            }),
        ]
    );
    assert_eq!(read(metrics), [json!(null); 0], "nothing has happened since");
    assert!(startup::metrics::to("Nightshift/other").is_err(), "somebody counts already");
}

fn read(metrics: startup::metrics::Metrics) -> Vec<Value> {
    let lines = metrics.lines().unwrap();
    let lines = std::str::from_utf8(&lines).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}
