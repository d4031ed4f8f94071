//! A viewer's place in a job's log: the number of the last event that it has.

use crate::error::Finding;

/// The cursor of a request: 0 is before the first event. The header `Last-Event-ID` goes before the parameter `after`,
/// since a browser that comes back repeats the address that it first came with.
///
/// # Errors
/// When the one that counts is not a number.
pub fn parse(last_event_id: Option<&str>, after: Option<&str>) -> Result<u64, Finding> {
    let given = |text: &&str| !text.trim().is_empty();
    match (last_event_id.filter(given), after.filter(given)) {
        (Some(text), _) => number("Last-Event-ID", text),
        (None, Some(text)) => number("after", text),
        (None, None) => Ok(0),
    }
}

fn number(param: &str, text: &str) -> Result<u64, Finding> {
    let text = text.trim();
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        Finding::new(
            param,
            format!("`{param}` must be the number of an event, such as 57. Leave it out to read from the first event."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_goes_before_the_parameter() {
        assert_eq!(parse(Some("7"), Some("3")), Ok(7));
        assert_eq!(parse(None, Some(" 3 ")), Ok(3));
        assert_eq!(parse(Some(""), Some("3")), Ok(3));
        assert_eq!(parse(None, None), Ok(0));
        assert_eq!(parse(Some("18446744073709551615"), None), Ok(u64::MAX));
    }

    #[test]
    fn what_is_not_a_number_is_named() {
        for wrong in ["-1", "+1", "1.5", "x", "18446744073709551616", "1 2"] {
            let finding = parse(Some(wrong), None).unwrap_err();
            assert_eq!(finding.param, "Last-Event-ID");
            assert_eq!(
                parse(None, Some(wrong)).unwrap_err().message,
                "`after` must be the number of an event, such as 57. Leave it out to read from the first event."
            );
        }
    }
}
