//! Reading a log: what stands once everything that `turn.restarted` voids is left out.

use std::collections::BTreeMap;

use crate::{
    event::{Event, EventBody, ToolCallView},
    id::LaneName,
};

/// What a lane's part of the log amounts to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LaneReplay {
    /// Its text.
    pub text: String,
    /// Its calls in the order in which they were first seen, each as it was last told of.
    pub tool_calls: Vec<ToolCallView>,
}

/// What a log amounts to, lane by lane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replay {
    /// The lanes that wrote something.
    pub lanes: BTreeMap<LaneName, LaneReplay>,
}

impl Replay {
    /// Takes in the next event.
    pub fn apply(&mut self, event: &Event) {
        let Some(origin) = &event.origin else { return };
        let lane = self.lanes.entry(origin.lane.clone()).or_default();
        match &event.body {
            EventBody::OutputDelta { text } => lane.text.push_str(text),
            EventBody::TurnRestarted { output_offset } => {
                let offset = usize::try_from(*output_offset).unwrap_or(usize::MAX);
                lane.text = crate::event::cut(&lane.text, offset).0;
                lane.tool_calls.retain(|call| call.turn != origin.turn);
            }
            body => {
                if let Some(view) = body.tool_call() {
                    match lane.tool_calls.iter_mut().find(|call| call.turn == view.turn && call.id == view.id) {
                        Some(call) => *call = view.clone(),
                        None => lane.tool_calls.push(view.clone()),
                    }
                }
            }
        }
    }

    /// What the events amount to.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut replay = Self::default();
        for event in events {
            replay.apply(event);
        }
        replay
    }

    /// The text of one lane.
    pub fn text(&self, lane: &LaneName) -> &str {
        self.lanes.get(lane).map_or("", |lane| &lane.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Origin, time::Timestamp};

    fn event(number: u64, turn: u32, attempt: u32, body: EventBody) -> Event {
        Event {
            number,
            at: Timestamp::MIN,
            origin: Some(Origin { lane: LaneName::main(), turn, attempt, node_id: None }),
            body,
        }
    }

    #[test]
    fn a_restart_takes_back_text_after_its_offset_and_nothing_earlier() {
        let events = [
            event(1, 1, 1, EventBody::OutputDelta { text: "Zoë ".into() }),
            event(2, 2, 1, EventBody::OutputDelta { text: "was".into() }),
            event(3, 2, 2, EventBody::TurnRestarted { output_offset: 5 }),
            event(4, 2, 2, EventBody::OutputDelta { text: "is".into() }),
        ];
        assert_eq!(Replay::of(&events).text(&LaneName::main()), "Zoë is");
    }
}
