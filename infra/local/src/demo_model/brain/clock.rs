//! Questions about the time, and times as people read them.

use jiff::{civil::Date, fmt::strtime};

/// A date and a time of day with its zone's offset, as `get_current_time` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    at: jiff::civil::DateTime,
    /// Seconds east of UTC.
    offset: i32,
}

impl Moment {
    /// Reads `2026-11-23T12:05:00+09:00`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parsed = strtime::parse("%Y-%m-%dT%H:%M:%S%:z", text).ok()?;
        Some(Self { at: parsed.to_datetime().ok()?, offset: parsed.offset()?.seconds() })
    }

    /// `12:05 on Monday, 23 November 2026`.
    pub(super) fn in_words(&self) -> String {
        self.at.strftime("%H:%M on %A, %-d %B %Y").to_string()
    }

    /// `UTC+9`, `UTC−3:30`, `UTC`.
    pub(super) fn offset_in_words(&self) -> String {
        let minutes = self.offset.unsigned_abs() / 60;
        let sign = if self.offset < 0 { '−' } else { '+' };
        match (minutes / 60, minutes % 60) {
            (0, 0) => "UTC".to_owned(),
            (hours, 0) => format!("UTC{sign}{hours}"),
            (hours, minutes) => format!("UTC{sign}{hours}:{minutes:02}"),
        }
    }

    /// The offset in hours, as a term of a sum.
    pub(super) fn offset_term(&self) -> String {
        let hours = f64::from(self.offset) / 3600.0;
        if hours < 0.0 { format!("({hours})") } else { hours.to_string() }
    }
}

/// Whether a text asks for the time or the date.
pub(super) fn asks_for_time(text: &str) -> bool {
    /// Words before "time" that make it another one.
    const OTHER_TIMES: [&str; 14] = [
        "first", "last", "next", "long", "much", "every", "one", "free", "spare", "full", "part", "any", "real", "run",
    ];
    const PHRASES: [&str; 12] = [
        "today's date",
        "today’s date",
        "the date",
        "what date",
        "current date",
        "what day",
        "which day",
        "weekday",
        "day of the week",
        "o'clock",
        "how late is it",
        "what year",
    ];
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let time = (0..words.len())
        .any(|at| matches!(words[at], "time" | "clock") && !(at > 0 && OTHER_TIMES.contains(&words[at - 1])));
    time || PHRASES.iter().any(|phrase| text.contains(phrase))
}

/// How long it is until something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Until {
    what: Target,
    unit: Unit,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Minutes after midnight; 1440 is the next midnight.
    Clock(u32),
    /// Month and day.
    Day(i8, i8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
}

/// What a text wants to know the distance to: "how many minutes until midnight".
pub(super) fn until(text: &str) -> Option<Until> {
    let text = text.to_lowercase().replace(['\'', '’'], "");
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric() && c != ':').filter(|word| !word.is_empty()).collect();
    let (at, (what, name)) = (0..words.len())
        .filter(|at| matches!(words[*at], "until" | "till" | "til" | "before" | "to"))
        .find_map(|at| target(&words[at + 1..]).map(|target| (at, target)))?;
    let unit = words[..at].iter().rev().find_map(|word| {
        Some(match *word {
            "seconds" | "second" => Unit::Seconds,
            "minutes" | "minute" | "mins" => Unit::Minutes,
            "hours" | "hour" => Unit::Hours,
            "days" | "day" => Unit::Days,
            _ => return None,
        })
    });
    // Without a unit or a "how", it is a remark and no question.
    let asked = unit.is_some() || words[..at].windows(2).any(|pair| matches!(pair, ["how", "long" | "much" | "far"]));
    let unit = match (what, unit) {
        (Target::Day(..), _) => Unit::Days,
        (Target::Clock(_), None | Some(Unit::Days)) => Unit::Minutes,
        (Target::Clock(_), Some(unit)) => unit,
    };
    asked.then_some(Until { what, unit, name })
}

fn target(words: &[&str]) -> Option<(Target, String)> {
    let words = match words {
        ["the" | "next", rest @ ..] => rest,
        words => words,
    };
    let named = |target, name: &str| Some((target, name.to_owned()));
    match words {
        ["midnight", ..] => named(Target::Clock(24 * 60), "midnight"),
        ["noon" | "midday", ..] => named(Target::Clock(12 * 60), "noon"),
        ["christmas", "eve", ..] => named(Target::Day(12, 24), "Christmas Eve"),
        ["christmas", ..] => named(Target::Day(12, 25), "Christmas"),
        ["new", "years", "eve", ..] => named(Target::Day(12, 31), "New Year's Eve"),
        ["new", "year" | "years", ..] => named(Target::Day(1, 1), "New Year"),
        [hour, "am" | "pm" | "oclock", ..] if hour.parse::<u32>().is_ok() => {
            let suffix = if words[1] == "oclock" { "" } else { words[1] };
            time_of_day(&format!("{hour}{suffix}"), words[1] == "oclock")
        }
        [time, ..] => time_of_day(time, false),
        [] => None,
    }
}

/// `17:30`, `5pm`; a bare `17` only where it is clear that it is an hour.
fn time_of_day(text: &str, bare: bool) -> Option<(Target, String)> {
    let (digits, afternoon) = match (text.strip_suffix("am"), text.strip_suffix("pm")) {
        (Some(digits), _) => (digits, Some(false)),
        (_, Some(digits)) => (digits, Some(true)),
        _ => (text, None),
    };
    if afternoon.is_none() && !bare && !digits.contains(':') {
        return None;
    }
    let (hour, minute) = digits.split_once(':').unwrap_or((digits, "0"));
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    let hour = match afternoon {
        Some(afternoon) if hour <= 12 => hour % 12 + if afternoon { 12 } else { 0 },
        Some(_) => return None,
        None => hour,
    };
    (hour < 24 && minute < 60).then(|| (Target::Clock(hour * 60 + minute), format!("{hour:02}:{minute:02}")))
}

impl Until {
    /// The sum that tells it at this moment.
    pub(super) fn expression(&self, now: &Moment) -> String {
        let time = now.at.time();
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let so_far = format!("({hour}*60 + {minute})");
        match self.what {
            Target::Clock(target) => {
                let now = u32::from(hour.unsigned_abs()) * 60 + u32::from(minute.unsigned_abs());
                let next_day = if target <= now { "24*60 + " } else { "" };
                let target = match target % 60 {
                    0 => format!("{}*60", target / 60),
                    minute => format!("{}*60 + {minute}", target / 60),
                };
                let minutes = format!("{next_day}{target} - {so_far}");
                match self.unit {
                    Unit::Seconds => format!("({minutes})*60 - {second}"),
                    Unit::Hours => format!("({minutes})/60"),
                    Unit::Minutes | Unit::Days => minutes,
                }
            }
            Target::Day(month, day) => {
                let today = now.at.date();
                let of_year = |year| Date::new(year, month, day).map_or(1, Date::day_of_year);
                let (this, now) = (of_year(today.year()), today.day_of_year());
                if this >= now {
                    format!("{this} - {now}")
                } else {
                    format!("{} + {} - {now}", today.days_in_year(), of_year(today.year() + 1))
                }
            }
        }
    }

    /// `715 minutes until midnight in Tokyo (11 hours 55 minutes)`; the place as `" in Tokyo"`, or empty.
    pub(super) fn in_words(&self, result: &str, place: &str) -> String {
        let unit = match self.unit {
            Unit::Seconds => "seconds",
            Unit::Minutes => "minutes",
            Unit::Hours => "hours",
            Unit::Days => "days",
        };
        let n = super::arithmetic::grouped(result);
        let unit = if result == "1" { &unit[..unit.len() - 1] } else { unit };
        let long = match (self.unit, result.parse::<u32>()) {
            (Unit::Minutes, Ok(minutes)) if minutes >= 60 => {
                let (hours, minutes) = (minutes / 60, minutes % 60);
                let s = |n| if n == 1 { "" } else { "s" };
                format!(" ({hours} hour{} {minutes} minute{})", s(hours), s(minutes))
            }
            _ => String::new(),
        };
        format!("**{n} {unit}** until {}{place}{long}", self.name)
    }

    /// What is being waited for.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon_in_tokyo() -> Moment {
        Moment::parse("2026-11-23T12:05:00+09:00").unwrap()
    }

    #[test]
    fn a_moment_is_written_as_people_read_it() {
        assert_eq!(noon_in_tokyo().in_words(), "12:05 on Monday, 23 November 2026");
        for (text, expected) in [("+09:00", "UTC+9"), ("-03:30", "UTC−3:30"), ("+00:00", "UTC"), ("+05:30", "UTC+5:30")]
        {
            let moment = Moment::parse(&format!("2026-11-23T12:05:00{text}")).unwrap();
            assert_eq!(moment.offset_in_words(), expected);
        }
        assert_eq!(Moment::parse("soon"), None);
    }

    #[test]
    fn distances_become_sums() {
        for (text, expected) in [
            ("how many minutes until midnight there", "24*60 - (12*60 + 5)"),
            ("How many hours until noon?", "(24*60 + 12*60 - (12*60 + 5))/60"),
            ("how long is it till 5 pm", "17*60 - (12*60 + 5)"),
            ("how many seconds until 17:30", "(17*60 + 30 - (12*60 + 5))*60 - 0"),
            ("How many days until Christmas?", "359 - 327"),
            ("how many days until new year's day", "365 + 1 - 327"),
        ] {
            let until = until(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(until.expression(&noon_in_tokyo()), expected, "{text}");
        }
        assert_eq!(until("I worked until midnight"), None);
        assert_eq!(until("how many minutes to cook an egg"), None);
    }

    #[test]
    fn only_questions_about_the_time_are_taken_for_such() {
        for text in ["What time is it?", "time in Tokyo", "What day is it today?", "what's the date", "Time?"] {
            assert!(asks_for_time(text), "{text}");
        }
        for text in [
            "What is 3 times 4?",
            "Is this the first time?",
            "How much time do eggs take?",
            "How do you do?",
            "I had a long time",
        ] {
            assert!(!asks_for_time(text), "{text}");
        }
    }
}
