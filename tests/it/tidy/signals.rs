//! The table of metrics for people, and those of the code.

use ::signals::metric::{ALL, Metric};

use super::read;

#[test]
fn the_metrics_of_the_page_are_those_of_the_code() {
    let page = read("infra/SIGNALS.md");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = page.lines().filter(|line| line.starts_with("| `")).map(cells).collect();
    let told: Vec<[String; 4]> = rows
        .iter()
        .filter(|row| ["counter", "gauge", "histogram"].contains(&row[2].as_str()))
        .map(|row| [1, 2, 3, 4].map(|cell| row[cell].clone()))
        .collect();
    let known: Vec<[String; 4]> = ALL
        .iter()
        .map(|Metric { name, kind, unit, dimensions, .. }| {
            let kind = format!("{kind:?}").to_lowercase();
            [(*name).to_owned(), kind, format!("{unit:?}"), dimensions.join(", ")]
        })
        .collect();
    assert_eq!(told, known);
}
