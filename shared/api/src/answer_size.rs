//! Answers that fit into what a function may answer: one that is larger is an error to its caller, for good.

use std::io::{self, Write};

use domain::{
    event::{ToolCallView, cut},
    limits,
};
use serde::Serialize;

use crate::{event_view::NumberedEventView, job_view::JobView};

/// Cuts the texts of a job's calls, nodes and questions shorter and shorter until its view has at most `most` bytes, and
/// then leaves out the oldest calls and answered questions: what is asked now, and of whom, stays.
pub(crate) fn shorten(view: &mut JobView, most: usize) {
    let mut longest = limits::RESULT_VIEW_BYTES;
    while length(view) > most && longest > 0 {
        view.shortened = true;
        cut_texts(view, longest);
        longest /= 4;
    }
    while length(view) > most && !view.tool_calls.is_empty() {
        view.tool_calls.drain(..view.tool_calls.len().div_ceil(2));
    }
    if length(view) > most {
        view.input_requests.retain(|request| request.answer.is_none());
    }
}

fn cut_texts(view: &mut JobView, longest: usize) {
    for call in &mut view.tool_calls {
        cut_call(call, longest);
    }
    for node in view.workflow.iter_mut().flat_map(|workflow| workflow.run.node_states.values_mut()) {
        shorter(&mut node.output, longest);
    }
    // What a person is to decide about is left as it is.
    for request in view.input_requests.iter_mut().filter(|request| request.answer.is_some()) {
        shorter(&mut request.context.input, longest);
        shorter(&mut request.context.output, longest);
        if let Some(answer) = request.answer.as_mut().filter(|answer| length(&answer.data) > longest) {
            answer.data = None;
        }
    }
}

fn cut_call(call: &mut ToolCallView, longest: usize) {
    call.result_truncated |= shorter(&mut call.result, longest);
    shorter(&mut call.edited_arguments, longest);
    call.arguments = cut(&call.arguments, longest).0;
    if let Some(error) = &mut call.error {
        error.message = cut(&error.message, longest).0;
    }
}

fn shorter(text: &mut Option<String>, longest: usize) -> bool {
    let Some((shorter, is_cut)) = text.as_deref().map(|text| cut(text, longest)) else { return false };
    *text = Some(shorter);
    is_cut
}

/// The first of the events that have at most `most` bytes together; one in any case, or a reader would never get on.
pub(crate) fn fitting(events: Vec<NumberedEventView<'_>>, most: usize) -> Vec<NumberedEventView<'_>> {
    let mut bytes = 0;
    let fits = |event: &NumberedEventView<'_>| {
        let is_first = bytes == 0;
        bytes += length(event) + 1;
        is_first || bytes <= most
    };
    events.into_iter().take_while(fits).collect()
}

/// Bytes of JSON.
fn length(value: &impl Serialize) -> usize {
    struct Counted(usize);
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    // What cannot be written has no length, and fails where it is written.
    let _ = serde_json::to_writer(&mut counted, value);
    counted.0
}

#[cfg(test)]
mod tests {
    use domain::{
        event::EventBody,
        job::State,
        workflow::{NodeView, RunView},
    };

    use super::*;
    use crate::{
        event_view::{
            EventView,
            tests::{event, job},
        },
        job_view::{
            JobDetails,
            tests::{at, call, head},
        },
        workflow_view::{GraphView, WorkflowView},
    };

    const MOST: usize = 64 * 1024;

    fn view(tool_calls: Vec<ToolCallView>) -> JobView {
        let details = JobDetails { tool_calls, ..JobDetails::default() };
        let mut view = JobView::new(&head(State::Queued { until: at(9) }), details);
        shorten(&mut view, MOST);
        view
    }

    fn calls(n: usize, text: &str) -> Vec<ToolCallView> {
        vec![ToolCallView { arguments: text.into(), ..ToolCallView::of(&call(text)) }; n]
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let view = view(calls(3, "a cat"));
        assert!(!view.shortened && !view.tool_calls[0].result_truncated);
        assert_eq!(view.tool_calls, calls(3, "a cat"));
    }

    #[test]
    fn long_texts_are_cut_until_all_calls_fit() {
        // Control characters take six bytes each: it is the JSON that counts.
        for text in ["y".repeat(4000), "\u{1}".repeat(4000)] {
            let view = view(calls(20, &text));
            assert!(view.shortened && view.tool_calls.iter().all(|call| call.result_truncated));
            assert_eq!(view.tool_calls.len(), 20);
            assert!(length(&view) <= MOST, "{}", length(&view));
        }
    }

    #[test]
    fn of_too_many_calls_the_newest_are_shown() {
        let many = (0..1000).map(|n| ToolCallView { turn: n, ..ToolCallView::of(&call("a cat")) });
        let view = view(many.collect());
        assert!(view.shortened && length(&view) <= MOST);
        assert_eq!(view.tool_calls.last().map(|call| call.turn), Some(999));
    }

    #[test]
    fn nodes_outputs_are_cut_as_well() {
        let node = NodeView { output: Some("z".repeat(4000)), ..NodeView::default() };
        let node_states = (0..100).map(|n| (format!("n{n}"), node.clone())).collect();
        let run = RunView { node_states, ..RunView::default() };
        let workflow = WorkflowView {
            id: None,
            name: "w".into(),
            version: None,
            graph: GraphView::default(),
            run,
            warnings: vec![],
        };
        let mut view = JobView { workflow: Some(workflow), ..view(vec![]) };
        shorten(&mut view, MOST);
        assert!(view.shortened && length(&view) <= MOST);
        assert_eq!(view.workflow.map(|workflow| workflow.run.node_states.len()), Some(100));
    }

    #[test]
    fn a_page_of_events_ends_where_it_is_full_and_is_never_empty() {
        let events: Vec<_> = (1..=10).map(|n| event(n, EventBody::OutputDelta { text: "x".repeat(1000) })).collect();
        let job = job();
        let all: Vec<_> = events
            .iter()
            .map(|event| NumberedEventView { number: event.number, event: EventView::new(&job, event) })
            .collect();
        let fits = |most| fitting(all.clone(), most).len();
        assert_eq!((fits(1), fits(3000), fits(MOST)), (1, 2, 10));
    }
}
