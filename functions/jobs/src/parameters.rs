//! Query parameters: all findings at once, unknown names among them.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use api::{
    cursor,
    error::{ApiError, Finding},
    page::{self, PageToken},
};
use domain::{
    id::{InvalidId, JobId},
    job::Status,
};
use store::JobFilter;

/// Events in a page, unless the caller says otherwise, and at most.
const EVENTS: u32 = 100;
const MOST_EVENTS: u32 = 1000;
/// The longest time that an answer is held back.
const LONGEST_WAIT: u64 = 20;

/// The parameters of `GET /jobs`.
pub(crate) struct ListParameters {
    pub(crate) filter: JobFilter,
    pub(crate) limit: usize,
    pub(crate) after: Option<JobId>,
}

/// The parameters of `GET /jobs/{id}/events`.
pub(crate) struct EventsParameters {
    pub(crate) after: u64,
    pub(crate) limit: u32,
    pub(crate) wait: Duration,
}

/// A query's parameters, taken one by one.
struct Parameters {
    left: BTreeMap<String, String>,
    findings: Vec<Finding>,
}

impl Parameters {
    fn new(query: Vec<(String, String)>) -> Self {
        let mut parameters = Self { left: BTreeMap::new(), findings: vec![] };
        for (name, value) in query {
            if parameters.left.insert(name.clone(), value).is_some() {
                parameters.findings.push(Finding::new(&name, format!("`{name}` came more than once; send one.")));
            }
        }
        parameters
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.left.remove(name).filter(|value| !value.is_empty())
    }

    fn id<T: FromStr<Err = InvalidId>>(&mut self, name: &str) -> Option<T> {
        let parsed = self.take(name)?.parse();
        parsed.map_err(|error: InvalidId| self.findings.push(Finding::new(name, error.to_string()))).ok()
    }

    fn keep<T: Default>(&mut self, result: Result<T, Finding>) -> T {
        result.unwrap_or_else(|finding| {
            self.findings.push(finding);
            T::default()
        })
    }

    fn number(&mut self, name: &str, default: u64, most: u64) -> u64 {
        let Some(text) = self.take(name) else { return default };
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && number <= most => number,
            _ => {
                let message = format!("`{name}` must be an integer from 0 to {most}; it is {default} when left out.");
                self.findings.push(Finding::new(name, message));
                default
            }
        }
    }

    fn finish<T>(mut self, value: T) -> Result<T, ApiError> {
        for name in self.left.keys() {
            self.findings.push(Finding::new(name, format!("There is no parameter `{name}` here. Leave it out.")));
        }
        if self.findings.is_empty() { Ok(value) } else { Err(ApiError::Invalid(self.findings)) }
    }
}

impl ListParameters {
    pub(crate) fn read(query: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut query = Parameters::new(query);
        let status = query.take("status").and_then(|text| {
            let status = Status::ALL.into_iter().find(|status| status.as_str() == text);
            if status.is_none() {
                let all = Status::ALL.map(Status::as_str).join(", ");
                query.findings.push(Finding::new("status", format!("`status` must be one of {all}.")));
            }
            status
        });
        let filter = JobFilter { thread: query.id("thread_id"), message: query.id("message_id"), status };
        let limit = query.take("limit");
        let limit = query.keep(page::limit(limit.as_deref()));
        let after = query.take("page").map(|token| PageToken::decode(&token)).transpose();
        let after = query.keep(after).map(|token| token.0);
        query.finish(Self { filter, limit: limit as usize, after })
    }
}

impl EventsParameters {
    pub(crate) fn read(query: Vec<(String, String)>, last_event_id: Option<&str>) -> Result<Self, ApiError> {
        let mut query = Parameters::new(query);
        let after = query.take("after");
        let after = query.keep(cursor::parse(last_event_id, after.as_deref()));
        let limit = u32::try_from(query.number("limit", EVENTS.into(), MOST_EVENTS.into())).unwrap_or(EVENTS).max(1);
        let wait = Duration::from_secs(query.number("wait", 0, LONGEST_WAIT));
        query.finish(Self { after, limit, wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn everything_wrong_with_a_list_is_said_at_once() {
        let wrong = query(&[("status", "done"), ("limit", "0"), ("page", "x"), ("sort", "asc"), ("thread_id", "a\nb")]);
        let Err(ApiError::Invalid(findings)) = ListParameters::read(wrong) else { panic!("accepted") };
        let params: Vec<&str> = findings.iter().map(|finding| finding.param.as_str()).collect();
        assert_eq!(params, ["status", "thread_id", "limit", "page", "sort"]);
    }

    #[test]
    fn a_poll_waits_at_most_twenty_seconds() {
        assert!(EventsParameters::read(query(&[("wait", "21")]), None).is_err());
        let read = EventsParameters::read(query(&[("wait", "20"), ("after", "7")]), Some("9")).ok().unwrap();
        assert_eq!((read.after, read.limit, read.wait), (9, 100, Duration::from_secs(20)));
    }
}
