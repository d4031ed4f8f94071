//! Spans, by OpenTelemetry's conventions for generative AI: a job is one trace, however many invocations work on it.
//!
//! Nothing has to travel with a job for that but what its caller sent: the trace and the job's own span are named after
//! the job's id, so that whoever works on it knows them. The job's span is told when the job has ended, by whoever settles
//! it; a turn's, by the invocation that did it. What a worker that died had not told yet is missing.

use std::{
    borrow::Cow,
    cell::Cell,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use domain::{
    answer::Answer,
    job::{Ending, Head, ModelSettings},
    lane::Lane,
    time::Timestamp,
    tool_call::{ToolCallStatus, ToolOutcome},
    usage::Usage,
};
use opentelemetry::{
    Array, Context, KeyValue, StringValue, Value,
    global::{self, BoxedSpan},
    trace::{
        Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer,
    },
};

use crate::count::TurnOutcome;

/// Whether somebody takes spans.
static ON: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The ids of the span that is begun next on this thread, if they are not to be invented.
    static NAMED: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Somebody takes spans from now on. Before that, none is made.
pub fn switch_on() {
    ON.store(true, Ordering::Relaxed);
}

/// The ids of the span that is being begun on this thread, where they are given: for the generator of ids.
pub fn named_ids() -> Option<(TraceId, SpanId)> {
    NAMED.get()
}

/// The trace of a job.
pub fn trace_id(head: &Head) -> TraceId {
    head.trace.map_or(TraceId::from_bytes(head.id.number().to_be_bytes()), |caller| {
        TraceId::from_bytes(caller.trace.to_be_bytes())
    })
}

/// The job's own span: the last 64 bits of its id.
fn span_id(head: &Head) -> SpanId {
    let [.., a, b, c, d, e, f, g, h] = head.id.number().to_be_bytes();
    SpanId::from_bytes([a, b, c, d, e, f, g, h])
}

/// A place in the job's trace under which spans can be put.
fn place(head: &Head, span: SpanId) -> Context {
    let is_sampled = head.trace.is_none_or(|caller| caller.is_sampled);
    let flags = if is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    Context::new().with_remote_span_context(SpanContext::new(trace_id(head), span, flags, true, TraceState::NONE))
}

/// A span under way. Dropped, it ends; nothing is told when nobody takes spans.
#[derive(Debug)]
#[must_use]
pub struct Span(Option<BoxedSpan>);

/// An attempt at a turn.
pub fn turn(head: &Head, lane: &Lane) -> Span {
    if !ON.load(Ordering::Relaxed) {
        return Span(None);
    }
    let mut span = begin(Cow::Borrowed("turn"), SpanKind::Consumer, &place(head, span_id(head)));
    span.set_attributes([
        KeyValue::new("nightshift.job.id", head.id.to_string()),
        KeyValue::new("nightshift.lane", lane.name.to_string()),
        KeyValue::new("nightshift.turn", i64::from(lane.turn)),
        KeyValue::new("nightshift.attempt", i64::from(lane.attempt)),
    ]);
    Span(Some(span))
}

/// The whole job, now that it is over.
pub fn job_ended(head: &Head) {
    let Some(ended) = head.finished_at().filter(|_| ON.load(Ordering::Relaxed)) else { return };
    let parent = match head.trace {
        Some(caller) => place(head, SpanId::from_bytes(caller.span.to_be_bytes())),
        None => Context::new(),
    };
    NAMED.set(Some((trace_id(head), span_id(head))));
    let tracer = global::tracer(TRACER);
    let builder = tracer
        .span_builder(format!("invoke_agent {AGENT}"))
        .with_kind(SpanKind::Server)
        .with_start_time(moment(head.created_at));
    let mut span = tracer.build_with_context(builder, &parent);
    NAMED.set(None);
    span.set_attributes([
        KeyValue::new("gen_ai.operation.name", "invoke_agent"),
        KeyValue::new("gen_ai.provider.name", PROVIDER),
        KeyValue::new("gen_ai.agent.name", AGENT),
        KeyValue::new("gen_ai.request.model", head.model.clone()),
        KeyValue::new("nightshift.job.id", head.id.to_string()),
        KeyValue::new("nightshift.job.status", head.status().as_str()),
        KeyValue::new("nightshift.job.recoveries", i64::from(head.metrics.recoveries)),
        KeyValue::new("nightshift.job.queue_time_ms", number(head.metrics.queue_time_ms)),
        KeyValue::new("nightshift.job.overhead_ms", number(head.metrics.overhead_ms)),
    ]);
    span.set_attributes(used(&head.usage));
    if let Some(Ending::Failed { error, .. }) = head.ending() {
        fail(&mut span, error.code.clone());
    }
    span.end_with_timestamp(moment(ended));
}

impl Span {
    /// The model is asked.
    pub fn chat(&self, settings: &ModelSettings) -> Self {
        self.child(format!("chat {}", settings.model), SpanKind::Client, |span| {
            span.set_attributes([
                KeyValue::new("gen_ai.operation.name", "chat"),
                KeyValue::new("gen_ai.provider.name", PROVIDER),
                KeyValue::new("gen_ai.request.model", settings.model.clone()),
            ]);
            let limits = [
                settings.temperature.map(|value| KeyValue::new("gen_ai.request.temperature", value)),
                settings.top_p.map(|value| KeyValue::new("gen_ai.request.top_p", value)),
                settings.max_output_tokens.map(|value| KeyValue::new("gen_ai.request.max_tokens", i64::from(value))),
            ];
            span.set_attributes(limits.into_iter().flatten());
        })
    }

    /// A tool is run.
    pub fn tool(&self, name: &str, call: &str) -> Self {
        self.child(format!("execute_tool {name}"), SpanKind::Internal, |span| {
            span.set_attributes([
                KeyValue::new("gen_ai.operation.name", "execute_tool"),
                KeyValue::new("gen_ai.tool.name", name.to_owned()),
                KeyValue::new("gen_ai.tool.type", "function"),
                KeyValue::new("gen_ai.tool.call.id", call.to_owned()),
            ]);
        })
    }

    /// The first piece of the answer came.
    pub fn first_token(&mut self, after: Duration) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("gen_ai.response.time_to_first_chunk", after.as_secs_f64()));
        }
    }

    /// The model answered.
    pub fn answered(self, answer: &Answer) {
        let Some(mut span) = self.0 else { return };
        let reason = Value::Array(Array::String(vec![StringValue::from(answer.finish_reason.as_str())]));
        span.set_attribute(KeyValue::new("gen_ai.response.model", answer.model.clone()));
        span.set_attribute(KeyValue::new("gen_ai.response.finish_reasons", reason));
        span.set_attributes(used(&answer.usage));
    }

    /// The model summed up a conversation.
    pub fn summarised(self, usage: &Usage) {
        if let Some(mut span) = self.0 {
            span.set_attributes(used(usage));
        }
    }

    /// The tool ended.
    pub fn called(self, outcome: &ToolOutcome) {
        let Some(mut span) = self.0 else { return };
        span.set_attribute(KeyValue::new("nightshift.tool.outcome", outcome.word()));
        if outcome.status() != ToolCallStatus::Completed {
            fail(&mut span, outcome.word());
        }
    }

    /// It failed so; `code` is a stable word, and never a message, which may quote what was said.
    pub fn failed(self, code: &'static str) {
        if let Some(mut span) = self.0 {
            fail(&mut span, code);
        }
    }

    /// The attempt is over.
    pub fn turned(self, outcome: TurnOutcome) {
        let Some(mut span) = self.0 else { return };
        span.set_attribute(KeyValue::new("nightshift.turn.outcome", outcome.as_str()));
        if matches!(outcome, TurnOutcome::Stopped | TurnOutcome::Failed) {
            fail(&mut span, outcome.as_str());
        }
    }

    fn child(&self, name: String, kind: SpanKind, fill: impl FnOnce(&mut BoxedSpan)) -> Self {
        let Some(parent) = &self.0 else { return Self(None) };
        let mut span =
            begin(name.into(), kind, &Context::new().with_remote_span_context(parent.span_context().clone()));
        fill(&mut span);
        Self(Some(span))
    }
}

/// Who makes the spans.
const TRACER: &str = "nightshift";
/// What works on jobs.
const AGENT: &str = "nightshift";
/// Whose form of chat completions is spoken; the model's name says more.
const PROVIDER: &str = "openai";

fn begin(name: Cow<'static, str>, kind: SpanKind, parent: &Context) -> BoxedSpan {
    let tracer = global::tracer(TRACER);
    tracer.build_with_context(tracer.span_builder(name).with_kind(kind), parent)
}

fn fail(span: &mut BoxedSpan, code: impl Into<StringValue>) {
    let code = code.into();
    span.set_attribute(KeyValue::new("error.type", code.clone()));
    span.set_status(Status::error(code.as_str().to_owned()));
}

fn used(usage: &Usage) -> [KeyValue; 4] {
    [
        KeyValue::new("gen_ai.usage.input_tokens", number(usage.input_tokens)),
        KeyValue::new("gen_ai.usage.output_tokens", number(usage.output_tokens)),
        KeyValue::new("gen_ai.usage.cache_read.input_tokens", number(usage.cached_tokens)),
        KeyValue::new("nightshift.usage.cost_usd", usage.cost_usd),
    ]
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn moment(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or_default())
}
