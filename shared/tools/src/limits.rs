//! How long and how large a call may be, and what is done with results that are larger than the model should read.

use std::time::Duration;

/// How long a call may run when its tool says nothing else (R12, R45).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The wait before the one retry after a network failure (R65, R114).
pub const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Bytes of a call's arguments (R184).
pub const ARGUMENT_BYTES: usize = 64 * 1024;

/// Bytes of one result; more is an error (R184).
pub const RESULT_BYTES: usize = 256 * 1024;

/// Bytes of one result that the model may read; a larger one is replaced by a note (R184).
pub const RESULT_BYTES_TO_MODEL: usize = 128 * 1024;

/// Bytes of all the results of a turn that the model may read together (R50: 50 KB).
pub const TURN_BYTES_TO_MODEL: usize = 50 * 1024;

/// The answer to a call of a tool that only the caller can run, to the letter (R53).
pub const CLIENT_ONLY: &str = "Tool not available in background mode";

/// Cuts the results of a turn, in the order of its calls, to what the model may read: a result over
/// [`RESULT_BYTES_TO_MODEL`] is replaced by a note, and when the rest is over [`TURN_BYTES_TO_MODEL`] together the
/// largest are cut to equal lengths, so that a small result survives beside a large one. What was cut says how much is
/// missing. The same results always give the same text.
pub fn truncate_for_model(results: &mut [String]) {
    for result in results.iter_mut().filter(|result| result.len() > RESULT_BYTES_TO_MODEL) {
        *result = format!(
            "[result omitted: {} bytes, more than the {RESULT_BYTES_TO_MODEL} bytes that one result may have]",
            result.len()
        );
    }
    let share = fair_share(results, TURN_BYTES_TO_MODEL);
    for result in results.iter_mut().filter(|result| result.len() > share) {
        *result = cut(result, share);
    }
}

/// The length to which the longest texts must be cut so that all fit in `total`: what the shorter ones leave of their
/// equal part goes to the longer ones.
fn fair_share(texts: &[String], total: usize) -> usize {
    let mut lengths: Vec<usize> = texts.iter().map(String::len).collect();
    lengths.sort_unstable();
    let mut left = total;
    for (n_before, length) in lengths.iter().enumerate() {
        let share = left / (lengths.len() - n_before);
        if *length > share {
            return share;
        }
        left -= length;
    }
    usize::MAX
}

/// The beginning of a text and a note of what is missing, together at most `longest` bytes.
fn cut(text: &str, longest: usize) -> String {
    let note = |missing: usize| format!("\n[truncated: {missing} of {} bytes are missing]", text.len());
    let keep = text.floor_char_boundary(longest.saturating_sub(note(text.len()).len()));
    let mut note = note(text.len() - keep);
    note.truncate(note.floor_char_boundary(longest));
    format!("{}{note}", &text[..keep])
}
