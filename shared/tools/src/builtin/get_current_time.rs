//! `get_current_time`: the date and the time, in any zone of the IANA database (R81).

use async_trait::async_trait;
use domain::tool_call::Replay;
use jiff::{Timestamp, tz};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Clock;
use crate::{ToolContext, ToolError, ToolReply, TypedTool};

/// Tells the time.
pub(super) struct GetCurrentTime {
    clock: Clock,
}

impl GetCurrentTime {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arguments {
    /// IANA time zone, such as `Asia/Tokyo` or `America/New_York`. UTC when left out.
    #[serde(default)]
    timezone: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Answer {
    timezone: String,
    datetime: String,
    weekday: String,
    utc_offset: String,
    unix: i64,
}

#[async_trait]
impl TypedTool for GetCurrentTime {
    type Arguments = Arguments;
    const NAME: &'static str = "get_current_time";
    const DESCRIPTION: &'static str = "The current date and time, in UTC or in a given IANA time zone. Answers JSON: \
        timezone, datetime (RFC 3339 with the zone's offset), weekday, utc_offset, unix (seconds).";

    fn replay(&self) -> Replay {
        Replay::Safe
    }

    async fn call(&self, arguments: Arguments, _: &ToolContext) -> Result<ToolReply, ToolError> {
        let asked = arguments.timezone.as_deref().map_or("", str::trim);
        let zone = if asked.is_empty() { "UTC" } else { asked };
        let zone = tz::db().get(zone).map_err(|_| ToolError::InvalidArguments(unknown(zone)))?;
        let now = Timestamp::from_millisecond((self.clock)().as_millis())
            .map_err(|error| ToolError::Fatal(error.into()))?
            .to_zoned(zone);
        ToolReply::json(&Answer {
            timezone: now.time_zone().iana_name().unwrap_or("UTC").to_owned(),
            datetime: now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            weekday: now.strftime("%A").to_string(),
            utc_offset: now.strftime("%:z").to_string(),
            unix: now.timestamp().as_second(),
        })
    }
}

fn unknown(asked: &str) -> String {
    let shown: String = asked.chars().take(64).collect();
    let near = near(&shown);
    let hint = if near.is_empty() {
        "Use an IANA name such as `Europe/Berlin`.".to_owned()
    } else {
        format!("Did you mean {}?", near.join(", "))
    };
    format!("There is no time zone `{shown}`. {hint}")
}

/// Up to five names that a reader would take for the one that was meant: the same city, then a few letters off.
fn near(asked: &str) -> Vec<String> {
    let plain = |name: &str| name.to_lowercase().replace([' ', '-'], "_");
    let city = |name: &str| plain(name.rsplit('/').next().unwrap_or(name));
    let (asked, asked_city) = (plain(asked), city(asked));
    let mut found: Vec<(usize, String)> = tz::db()
        .available()
        .filter_map(|name| {
            let name = name.to_string();
            let whole = distance(&asked, &plain(&name));
            let tail = distance(&asked_city, &city(&name)) + usize::from(name.contains('/'));
            let distance = whole.min(tail);
            (distance <= 3.min(asked_city.chars().count() / 2)).then_some((distance, name))
        })
        .collect();
    found.sort();
    found.into_iter().take(5).map(|(_, name)| name).collect()
}

/// The number of letters to insert, remove or change (Levenshtein). Both are short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
