//! Server-sent events: bytes to the data of frames. Knows no provider and no JSON. Follows the WHATWG's rules (CR, LF and
//! CRLF, comments, several `data` lines a frame, at most one space after the colon), bounded, and without allocating once
//! its buffers have grown. Bytes stay bytes, so a frame may be split anywhere, inside a character too.

/// A frame is larger than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FrameTooLarge {
    /// The most bytes that a frame may have.
    pub(crate) limit: usize,
}

/// Splits a stream of bytes into frames.
pub(crate) struct Frames {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The data of the frame that has not ended yet: each line of it with a line feed after it.
    data: Vec<u8>,
    /// Whether the last byte was a CR, whose LF may still come.
    after_cr: bool,
    at_start: bool,
    max_bytes: usize,
}

impl Frames {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { line: Vec::new(), data: Vec::new(), after_cr: false, at_start: true, max_bytes }
    }

    /// Takes more bytes in, and hands out the data of each frame that they complete.
    pub(crate) fn feed<E: From<FrameTooLarge>>(
        &mut self,
        mut bytes: &[u8],
        mut on_frame: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.data.len() + part.len() > self.max_bytes {
                return Err(FrameTooLarge { limit: self.max_bytes }.into());
            }
            let Some(end) = end else {
                self.line.extend_from_slice(part);
                return Ok(());
            };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if self.line.is_empty() {
                take_line(part, &mut self.data, &mut self.at_start);
            } else {
                self.line.extend_from_slice(part);
                take_line(&self.line, &mut self.data, &mut self.at_start);
            }
            let blank = self.line.is_empty() && part.is_empty();
            self.line.clear();
            if blank {
                self.hand_out(&mut on_frame)?;
            }
        }
        Ok(())
    }

    /// At the end of the bytes: hands out the frame that was not closed, if there is one. The rules drop it; but servers
    /// leave the last blank line out. Whether it is whole, its reader must find out.
    pub(crate) fn end<E>(&mut self, on_frame: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        take_line(&std::mem::take(&mut self.line), &mut self.data, &mut self.at_start);
        self.hand_out(on_frame)
    }

    fn hand_out<E>(&mut self, mut on_frame: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Some((_line_feed, data)) = self.data.split_last() else { return Ok(()) };
        let result = on_frame(data);
        self.data.clear();
        result
    }
}

fn take_line(line: &[u8], data: &mut Vec<u8>, at_start: &mut bool) {
    let bom: &[u8] = if std::mem::take(at_start) { b"\xEF\xBB\xBF" } else { b"" };
    let line = line.strip_prefix(bom).unwrap_or(line);
    // The other fields (event, id, retry) and comments carry nothing for us.
    if let Some(value) = line.strip_prefix(b"data:") {
        data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        data.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(pieces: &[&[u8]], max_bytes: usize) -> Result<Vec<String>, FrameTooLarge> {
        let mut frames = Frames::new(max_bytes);
        let mut found = Vec::new();
        let mut on_frame = |data: &[u8]| {
            found.push(String::from_utf8(data.to_vec()).unwrap());
            Ok(())
        };
        for piece in pieces {
            frames.feed(piece, &mut on_frame)?;
        }
        frames.end(on_frame)?;
        Ok(found)
    }

    #[test]
    fn comments_other_fields_and_blank_lines_are_passed_over() {
        let text = b": PROCESSING\n\n\nevent: x\nid: 1\nretry: 5\ndata: a\n\n:\n\ndata: b\n\n";
        assert_eq!(frames(&[text], 100).unwrap(), ["a", "b"]);
    }

    #[test]
    fn all_line_endings_are_known() {
        assert_eq!(frames(&[b"data: a\r\n\r\ndata: b\n\ndata: c\r\r"], 100).unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn the_space_after_the_colon_may_be_missing_and_only_one_is_taken() {
        assert_eq!(frames(&[b"data:a\n\ndata:  b\n\n"], 100).unwrap(), ["a", " b"]);
    }

    #[test]
    fn several_data_lines_are_one_frame() {
        assert_eq!(frames(&[b"data: a\ndata: b\n\n"], 100).unwrap(), ["a\nb"]);
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        assert_eq!(frames(&[b"\xEF\xBB", b"\xBFdata: a\n\n"], 100).unwrap(), ["a"]);
    }

    #[test]
    fn the_last_frame_need_not_be_closed() {
        assert_eq!(frames(&[b"data: a\n\ndata: b\n"], 100).unwrap(), ["a", "b"]);
        assert_eq!(frames(&[b"data: a\n\ndata: b"], 100).unwrap(), ["a", "b"]);
        assert_eq!(frames(&[b"data: a\n\ndat"], 100).unwrap(), ["a"]);
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_however_it_comes() {
        assert_eq!(frames(&[b"data: 12345\n\n"], 10), Err(FrameTooLarge { limit: 10 }));
        assert_eq!(frames(&[b"data: 1", b"2345", b"\n\n"], 10), Err(FrameTooLarge { limit: 10 }));
        assert_eq!(frames(&[b"data: 123\ndata: 456\n\n"], 10), Err(FrameTooLarge { limit: 10 }));
        assert_eq!(frames(&[b"data: 1234\n\ndata: 5678\n\n"], 10).unwrap(), ["1234", "5678"]);
    }

    proptest! {
        #[test]
        fn splitting_changes_nothing(
            lines in proptest::collection::vec("(data:|data: |: |event: |)[aé💡 ]{0,6}(\n|\r\n|\r)", 0..20),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let text = lines.concat();
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(frames(&pieces, 1000), frames(&[bytes], 1000));
        }
    }
}
