//! What the model is told: the conversation as the next turn sends it, made from the request and the turns before.

use std::ops::Range;

use crate::{
    compaction::{self, Shortened},
    id::{LaneName, ToolCallId},
    inbox::{InboxMessage, between},
    limits::{RESULT_BYTES_TO_MODEL, TURN_BYTES_TO_MODEL},
    message::{Content, Message},
    tokens,
    tool_call::{ToolOutcome, ToolSpec},
    turn::{Turn, Turns},
};

/// The conversation of a lane before its turn `next`, as the model is to read it: what was `asked`, what each turn before
/// has added, and the messages that came in, the first `known` of them, each before the first turn that knew it; shorter
/// by what was recorded in these turns and in `next` itself.
pub fn conversation(
    asked: &[Message],
    turns: &Turns,
    inbox: &[InboxMessage],
    lane: &LaneName,
    next: u32,
    known: u32,
) -> Vec<Message> {
    Told::new(asked, turns, inbox, lane, next, known).into_messages()
}

/// A lane's conversation: the whole of it, and what stands for its earlier part.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Everything. It only ever grows: that a later turn counts its messages as an earlier one did is what
    /// [`Shortened::through`] relies on.
    pub whole: Vec<Message>,
    /// What stands for the earlier part, if anything does.
    pub latest: Option<Shortened>,
    /// What the provider counted last: tokens, and the messages that they were of. Nothing when the conversation was made
    /// shorter since.
    counted: Option<(u64, usize)>,
}

impl Told {
    /// The conversation before the lane's turn `next`; the arguments are those of [`conversation`].
    pub fn new(
        asked: &[Message],
        turns: &Turns,
        inbox: &[InboxMessage],
        lane: &LaneName,
        next: u32,
        known: u32,
    ) -> Self {
        let mut whole = asked.to_vec();
        let (mut taken, mut counted) = (0, None);
        for turn in before(turns, lane, next) {
            let knew = turn.answer.as_ref().map_or(taken, |answer| answer.inbox);
            whole.extend(between(inbox, taken, knew).map(InboxMessage::as_message));
            taken = taken.max(knew);
            if !turn.shortened.is_empty() {
                counted = None;
            }
            if let Some(answer) = turn.answer.as_ref().filter(|answer| answer.usage.input_tokens > 0) {
                counted = Some((answer.usage.input_tokens, whole.len()));
            }
            whole.extend(said(turn));
        }
        whole.extend(between(inbox, taken, known).map(InboxMessage::as_message));
        let of_next = turns.get(&(lane.clone(), next));
        let latest = before(turns, lane, next).chain(of_next).flat_map(|turn| &turn.shortened).next_back().cloned();
        if of_next.is_some_and(|turn| !turn.shortened.is_empty()) {
            counted = None;
        }
        Self { whole, latest, counted }
    }

    /// The conversation as the model is to read it.
    pub fn into_messages(self) -> Vec<Message> {
        match &self.latest {
            Some(latest) => latest.applied(self.whole),
            None => self.whole,
        }
    }

    /// Tokens of what the model is to read, with these tools: what the provider counted, and an estimate of the rest.
    pub fn tokens(&self, tools: &[ToolSpec]) -> u64 {
        if let Some((tokens, n)) = self.counted {
            return tokens + tokens::of_messages(self.whole.get(n..).unwrap_or_default());
        }
        let orders = compaction::standing_orders(&self.whole);
        let read = match &self.latest {
            Some(latest) => {
                let through = latest.through as usize;
                tokens::of_messages(&self.whole[..orders.min(through)])
                    + tokens::of_message(&latest.as_message())
                    + tokens::of_messages(self.whole.get(through..).unwrap_or_default())
            }
            None => tokens::of_messages(&self.whole),
        };
        read + tokens::of_tools(tools)
    }

    /// The ids of all calls in it, of those that the model is not told of any more, too.
    pub fn call_ids(&self) -> impl Iterator<Item = &ToolCallId> {
        self.whole
            .iter()
            .flat_map(|message| match message {
                Message::Assistant { tool_calls, .. } => tool_calls.as_slice(),
                Message::System { .. } | Message::User { .. } | Message::Tool { .. } => &[],
            })
            .map(|call| &call.id)
    }
}

/// The lane's turns before `next`, in order.
pub fn before<'a>(turns: &'a Turns, lane: &LaneName, next: u32) -> impl DoubleEndedIterator<Item = &'a Turn> + use<'a> {
    // Never ends before it begins: such a range panics, and a lane at its first turn has none before.
    let before: Range<(LaneName, u32)> = (lane.clone(), 1)..(lane.clone(), next.max(1));
    turns.range(before).map(|(_, turn)| turn)
}

/// What one turn adds: the model's answer, and one entry for each call that it asked for, in the answer's order (R111).
fn said(turn: &Turn) -> Vec<Message> {
    let Some(answer) = &turn.answer else { return vec![] };
    if answer.text.is_empty() && answer.calls.is_empty() {
        return vec![]; // providers refuse an empty message
    }
    let mut results: Vec<String> = (0..)
        .zip(&answer.calls)
        .map(|(index, _)| turn.calls.get(&index).and_then(|call| call.outcome()).unwrap_or(&ToolOutcome::Unknown))
        .map(ToolOutcome::for_model)
        .collect();
    truncate_for_model(&mut results);
    let answers = answer.calls.iter().zip(results).map(|(call, result)| Message::Tool {
        tool_call_id: call.id.clone(),
        name: Some(call.name.clone()),
        content: Content::Text(result),
    });
    std::iter::once(answer.as_message()).chain(answers).collect()
}

/// Cuts the results of a turn, in the order of its calls, to what the model may read: a result over
/// [`RESULT_BYTES_TO_MODEL`] is replaced by a note, and when the rest is over [`TURN_BYTES_TO_MODEL`] together the
/// largest are cut to equal lengths, so that a small result survives beside a large one. What was cut says how much is
/// missing. The same results always give the same text.
fn truncate_for_model(results: &mut [String]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_cut_to_50_kb_together_and_say_what_is_missing_r50() {
        let mut results = vec!["é".repeat(30_000), "short".to_owned(), "x".repeat(60_000)];
        truncate_for_model(&mut results);
        assert_eq!(results[1], "short");
        let total: usize = results.iter().map(String::len).sum();
        assert!((TURN_BYTES_TO_MODEL - 100..=TURN_BYTES_TO_MODEL).contains(&total), "{total}");
        assert!(results[0].ends_with("of 60000 bytes are missing]"), "{}", &results[0][results[0].len() - 60..]);
    }

    #[test]
    fn a_result_over_128_kb_is_left_out_r184() {
        let mut results = vec!["x".repeat(RESULT_BYTES_TO_MODEL + 1)];
        truncate_for_model(&mut results);
        assert_eq!(results[0], "[result omitted: 131073 bytes, more than the 131072 bytes that one result may have]");
    }
}
