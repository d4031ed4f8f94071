//! What the template draws and alarms on is what there is: our own metrics as `infra/SIGNALS.md` has them, and a section of
//! the runbook for each alarm.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    read,
    template::{list, of_type, template, text},
};

/// The table of our metrics, which is compared with the code elsewhere.
const SIGNALS: &str = "infra/SIGNALS.md";
const RUNBOOK: &str = "infra/RUNBOOK.md";
const NAMESPACE: &str = "Nightshift/${AWS::StackName}";

/// A metric's name with the names of its dimensions.
type Metric = (String, BTreeSet<String>);

#[test]
fn every_metric_that_is_drawn_or_alarmed_on_is_one_of_ours_with_its_dimensions() {
    let ours = ours();
    assert!(ours.len() > 20, "the table was not understood: {ours:?}");
    let drawn = drawn();
    let alarmed = alarmed();
    for (name, dimensions) in drawn.iter().chain(&alarmed) {
        assert_eq!(ours.get(name), Some(dimensions), "{name}, as {SIGNALS} has it");
    }
    // What is measured is shown, but for what the local runner alone can tell.
    let names: BTreeSet<&str> = drawn.iter().map(|(name, _)| name.as_str()).collect();
    let left_out: Vec<&str> = ours.keys().map(String::as_str).filter(|name| !names.contains(name)).collect();
    assert_eq!(left_out, NOT_DRAWN, "neither on the dashboard nor among those that need not be");
    assert!(alarmed.iter().any(|(name, _)| name == "jobs_stalled"), "a stalled job is an alarm");
}

/// Others on the dashboard say it already, or better.
const NOT_DRAWN: [&str; 7] =
    ["job_time", "job_turns", "stream_time", "stream_viewers", "text_batches", "text_bytes", "tool_calls_completed"];

#[test]
fn every_alarm_is_on_the_dashboard_and_has_its_section_in_the_runbook() {
    let alarms: BTreeSet<String> = template()["Resources"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm")
        .map(|(name, _)| name.clone())
        .collect();
    let widgets = dashboard();
    let shown = widgets.iter().find(|widget| widget["type"] == "alarm").expect("the dashboard shows the alarms");
    let shown: BTreeSet<String> = list(&shown["properties"]["alarms"])
        .iter()
        .map(|arn| text(arn).trim_start_matches("${").trim_end_matches(".Arn}").to_owned())
        .collect();
    assert_eq!(shown, alarms);
    let runbook = read(RUNBOOK);
    let chapter = runbook.split("\n## ").find(|chapter| chapter.starts_with("Alarms")).expect("a chapter of alarms");
    let explained: BTreeSet<String> = chapter
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .flat_map(|heading| heading.split(", "))
        .map(str::to_owned)
        .collect();
    assert_eq!(explained, alarms, "{RUNBOOK}");
    for alarm in of_type(&template(), "AWS::CloudWatch::Alarm") {
        for actions in ["AlarmActions", "OKActions"] {
            assert_eq!(alarm[actions]["!If"][0], "HasAlarmTopic", "{alarm}");
        }
    }
}

#[test]
fn the_runbooks_links_lead_to_its_sections() {
    let runbook = read(RUNBOOK);
    let anchors: BTreeSet<String> = runbook
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-").replace([',', '\''], ""))
        .collect();
    let links: Vec<&str> = runbook.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 3);
    for link in links {
        assert!(anchors.contains(link), "no section is called {link}: {anchors:?}");
    }
}

/// The rows of the table: a metric's name, its kind, its unit, its dimensions.
fn ours() -> BTreeMap<String, BTreeSet<String>> {
    let signals = read(SIGNALS);
    let (_, table) = signals.split_once("| Metric |").expect("a table of metrics");
    table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let words =
                |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
            (cells[1].trim_matches('`').to_owned(), words(cells[4]))
        })
        .collect()
}

fn dashboard() -> Vec<Value> {
    let dashboards = of_type(&template(), "AWS::CloudWatch::Dashboard");
    let [dashboard] = dashboards.as_slice() else { panic!("one dashboard, not {}", dashboards.len()) };
    let body: Value = serde_json::from_str(text(&dashboard["DashboardBody"]["!Sub"])).expect("its body is JSON");
    list(&body["widgets"]).to_vec()
}

/// Our metrics on the dashboard, those that are searched for included.
fn drawn() -> BTreeSet<Metric> {
    let mut found = BTreeSet::new();
    for widget in dashboard() {
        let metrics = widget["properties"]["metrics"].as_array().cloned().unwrap_or_default();
        for metric in &metrics {
            if let Some(expression) = metric[0]["expression"].as_str() {
                found.extend(searched(expression));
                continue;
            }
            if text(&metric[0]) != NAMESPACE {
                continue;
            }
            let names: Vec<&str> = list(metric).iter().filter_map(Value::as_str).collect();
            let dimensions = names[2..].iter().step_by(2).map(|&name| name.to_owned()).collect();
            found.insert((names[1].to_owned(), dimensions));
        }
    }
    assert!(found.len() > 20, "the dashboard was not understood: {found:?}");
    found
}

/// `SEARCH('{"Namespace",dimension} MetricName="name"', …)`.
fn searched(expression: &str) -> Option<Metric> {
    let rest = expression.strip_prefix(&format!("SEARCH('{{\"{NAMESPACE}\","))?;
    let (dimensions, rest) = rest.split_once('}')?;
    let name = rest.strip_prefix(" MetricName=\"")?.split('"').next()?;
    Some((name.to_owned(), dimensions.split(',').map(str::to_owned).collect()))
}

fn alarmed() -> BTreeSet<Metric> {
    let mut found = BTreeSet::new();
    for alarm in of_type(&template(), "AWS::CloudWatch::Alarm") {
        let queries = alarm["Metrics"].as_array().cloned().unwrap_or_default();
        let metrics = queries.iter().map(|query| &query["MetricStat"]["Metric"]).chain([&alarm]);
        for metric in metrics.filter(|metric| metric["Namespace"]["!Sub"] == NAMESPACE) {
            let dimensions = metric["Dimensions"].as_array().into_iter().flatten();
            let names = dimensions.map(|dimension| text(&dimension["Name"]).to_owned()).collect();
            found.insert((text(&metric["MetricName"]).to_owned(), names));
        }
    }
    found
}
