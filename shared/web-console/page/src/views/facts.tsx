// Where a finished job's time and money went.

import type { JSX } from "preact";
import { count, duration, moment, money } from "../format.ts";
import type { Job } from "../picture/event.ts";
import type { Picture } from "../picture/picture.ts";

export function Facts({ job, end, events }: { job: Job; end: NonNullable<Picture["end"]>; events: number }): JSX.Element {
  const { metrics, usage } = end;
  const parts = metrics
    ? [
        { name: "In line", ms: metrics.queue_time_ms, tone: "queue" },
        { name: "Model", ms: metrics.model_time_ms, tone: "model" },
        { name: "Tools", ms: metrics.tool_execution_time_ms, tone: "tools" },
        { name: "Overhead", ms: metrics.overhead_ms, tone: "overhead" },
      ]
    : [];
  const whole = parts.reduce((sum, part) => sum + part.ms, 0);
  const metadata = Object.entries(job.metadata ?? {}).filter(([name]) => name !== "title");
  return (
    <div class="facts">
      {whole > 0 && (
        <>
          <h2>Where the time went</h2>
          <svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">
            {parts.map((part, n) => {
              const before = parts.slice(0, n).reduce((sum, one) => sum + one.ms, 0);
              return (
                <rect key={part.name} class={`bar-${part.tone}`} x={(before / whole) * 1000} width={(part.ms / whole) * 1000} height="10" />
              );
            })}
          </svg>
          <dl class="legend">
            {parts.map((part) => (
              <div key={part.name} class={`legend-${part.tone}`}>
                <dt>{part.name}</dt>
                <dd>{duration(part.ms)}</dd>
              </div>
            ))}
          </dl>
        </>
      )}
      <details class="options">
        <summary>Details</summary>
        <dl class="details">
          <dt>Job</dt>
          <dd class="mono">{job.id}</dd>
          <dt>Started</dt>
          <dd>{moment(job.created_at)}</dd>
          {job.finished_at && (
            <>
              <dt>Kept until</dt>
              <dd>{moment(job.expires_at)}</dd>
            </>
          )}
          {metrics && (
            <>
              <dt>Turns</dt>
              <dd>{count(metrics.total_turns)}</dd>
              <dt>Tool calls</dt>
              <dd>{count(metrics.tool_call_count)}</dd>
              {metrics.recoveries > 0 && (
                <>
                  <dt>Recoveries</dt>
                  <dd>{count(metrics.recoveries)}</dd>
                </>
              )}
              {metrics.requests !== undefined && metrics.requests > 0 && (
                <>
                  <dt>Requests to table and queues</dt>
                  <dd>{count(metrics.requests)}</dd>
                </>
              )}
            </>
          )}
          {usage && (
            <>
              <dt>Tokens in</dt>
              <dd>
                {count(usage.input_tokens)}
                {usage.cached_tokens ? `, ${count(usage.cached_tokens)} of them cached` : ""}
              </dd>
              <dt>Tokens out</dt>
              <dd>
                {count(usage.output_tokens)}
                {usage.reasoning_tokens ? `, ${count(usage.reasoning_tokens)} of them reasoning` : ""}
              </dd>
              <dt>Cost</dt>
              <dd>{usage.cost_usd ? money(usage.cost_usd) : "not reported"}</dd>
            </>
          )}
          {end.finishReason && (
            <>
              <dt>Ended by</dt>
              <dd>{end.finishReason.replace(/_/g, " ")}</dd>
            </>
          )}
          <dt>Events</dt>
          <dd>{count(events)}</dd>
          {metadata.map(([name, value]) => (
            <>
              <dt key={name}>{name}</dt>
              <dd>{value}</dd>
            </>
          ))}
        </dl>
      </details>
    </div>
  );
}
