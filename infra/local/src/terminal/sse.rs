//! Server-sent events: bytes to frames. Knows no job and no connection.

use std::time::Duration;

/// What a stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// A frame, whole.
    Frame(Frame),
    /// How long to wait before coming back.
    Retry(Duration),
}

/// One frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its own id; what stood in a frame before does not count.
    pub(super) id: Option<String>,
    /// Its type; empty when it names none.
    pub(super) event: String,
    /// Its data, lines joined.
    pub(super) data: String,
}

/// Takes bytes as they come, cut anywhere. A frame counts when its blank line is there: what a connection's end cuts off
/// was never said.
#[derive(Debug, Default)]
pub(super) struct FrameParser {
    line: Vec<u8>,
    after_return: bool,
    frame: Frame,
    has_data: bool,
    past_start: bool,
}

impl FrameParser {
    /// What is said up to the end of `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    said.extend(self.end_line(&String::from_utf8_lossy(&line)));
                }
                _ => self.line.push(byte),
            }
        }
        said
    }

    fn end_line(&mut self, line: &str) -> Option<Said> {
        let first = !std::mem::replace(&mut self.past_start, true);
        let line = if first { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        if line.is_empty() {
            let mut frame = std::mem::take(&mut self.frame);
            frame.data.pop();
            return std::mem::take(&mut self.has_data).then_some(Said::Frame(frame));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => self.frame.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.frame.event),
            "data" => {
                self.has_data = true;
                self.frame.data.push_str(value);
                self.frame.data.push('\n');
            }
            "retry" if value.bytes().all(|digit| digit.is_ascii_digit()) => {
                return value.parse().ok().map(|ms| Said::Retry(Duration::from_millis(ms)));
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}retry: 1000\n: ping\n\nid: 1\nevent: job.queued\ndata: {\"a\":\"é日🦀\"}\n\n\
                          id:2\r\nevent:x\r\ndata:one\r\ndata: two\r\n\r\nid: 3\rdata: \r\revent: done\ndata: [DONE]\n\n\
                          id: 4\ndata: cut off\n";

    fn expected() -> Vec<Said> {
        let frame = |id: Option<&str>, event: &str, data: &str| {
            Said::Frame(Frame { id: id.map(str::to_owned), event: event.to_owned(), data: data.to_owned() })
        };
        vec![
            Said::Retry(Duration::from_secs(1)),
            frame(Some("1"), "job.queued", "{\"a\":\"é日🦀\"}"),
            frame(Some("2"), "x", "one\ntwo"),
            frame(Some("3"), "", ""),
            frame(None, "done", "[DONE]"),
        ]
    }

    #[test]
    fn frames_are_the_same_wherever_the_bytes_are_cut() {
        for first in 0..=STREAM.len() {
            let mut parser = FrameParser::default();
            let mut said = parser.push(&STREAM.as_bytes()[..first]);
            said.extend(parser.push(&STREAM.as_bytes()[first..]));
            assert_eq!(said, expected(), "cut at {first}");
        }
        let mut parser = FrameParser::default();
        let said: Vec<_> = STREAM.bytes().flat_map(|byte| parser.push(&[byte])).collect();
        assert_eq!(said, expected());
    }
}
