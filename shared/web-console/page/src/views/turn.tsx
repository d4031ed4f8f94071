// A turn in the timeline: what the model thought, said and asked for.

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { api, ApiError } from "../api.ts";
import { between, count, duration, money, moment, oneLine, pretty } from "../format.ts";
import { Code, Markdown } from "../markdown.tsx";
import type { ToolCall } from "../picture/event.ts";
import type { Turn } from "../picture/picture.ts";
import { Icon, Problem, Sign, statusWord, useNow } from "./parts.tsx";

export function TurnView(props: { job: string; turn: Turn; live: boolean; label?: string }): JSX.Element {
  const { turn, live, job } = props;
  const working = live && turn.finishedAt === undefined;
  const heading = props.label ? `${props.label} · turn ${turn.turn}` : `Turn ${turn.turn}`;
  return (
    <li class={`turn ${working ? "turn-live" : ""}`}>
      <div class="turn-head">
        <h2>{heading}</h2>
        <Figures turn={turn} working={working} />
      </div>
      {turn.restarts > 0 && (
        <p class="aside">
          Begun again{turn.restarts > 1 ? ` ${turn.restarts} times` : ""}: the worker before was lost. Nothing that was
          finished ran twice.
        </p>
      )}
      {turn.reasoning !== "" && <Reasoning text={turn.reasoning} live={working && turn.text === "" && turn.calls.length === 0} />}
      {turn.text !== "" && <Markdown text={turn.text} />}
      {turn.calls.length > 0 && (
        <ul class="calls" aria-label="Tool calls">
          {turn.calls.map((call) => (
            <Call key={call.id} job={job} call={call} live={live} />
          ))}
        </ul>
      )}
      {working && turn.waiting && <Waiting turn={turn} />}
      {working && !turn.waiting && turn.text === "" && turn.calls.length === 0 && (
        <p class="thinking" aria-hidden="true">
          <span />
          <span />
          <span />
        </p>
      )}
    </li>
  );
}

function Figures({ turn, working }: { turn: Turn; working: boolean }): JSX.Element {
  const now = useNow(1000, working);
  const end = turn.finishedAt ?? (working ? new Date(now).toISOString() : undefined);
  const ms = between(turn.startedAt, end);
  const tokens = turn.usage ? turn.usage.input_tokens + turn.usage.output_tokens : undefined;
  return (
    <p class="figures">
      {turn.model && <span class="model">{turn.model}</span>}
      {ms !== undefined && <span>{working ? `${Math.floor(ms / 1000)} s` : duration(ms)}</span>}
      {tokens !== undefined && (
        <span title={`${count(turn.usage!.input_tokens)} in, ${count(turn.usage!.output_tokens)} out`}>
          {count(tokens)} tokens
        </span>
      )}
      {turn.usage?.cost_usd ? <span>{money(turn.usage.cost_usd)}</span> : null}
      {turn.finishReason === "length" && <span class="warn">cut at its length limit</span>}
    </p>
  );
}

function Reasoning({ text, live }: { text: string; live: boolean }): JSX.Element {
  return (
    <details class="fold reasoning">
      <summary>
        <Icon name="thought" />
        <span>{live ? "Reasoning…" : "Reasoning"}</span>
        <span class="peek">{oneLine(text, 90)}</span>
        <Icon name="chevron" />
      </summary>
      <div class="fold-body">
        <Markdown text={text} />
      </div>
    </details>
  );
}

function Waiting({ turn }: { turn: Turn }): JSX.Element {
  const now = useNow(1000);
  const left = Math.max(0, Math.ceil((Date.parse(turn.waiting!.until) - now) / 1000));
  return (
    <p class="aside">
      {turn.waiting!.message || "The model's provider asks for patience."}{" "}
      {left > 0 ? `It is asked again in ${duration(left * 1000)}.` : "It is asked again now."}
    </p>
  );
}

export function Call({ job, call, live }: { job: string; call: ToolCall; live: boolean }): JSX.Element {
  const running = live && call.status === "running";
  const beingWritten = live && call.status === "pending" && call.arguments === "";
  const now = useNow(1000, running);
  const ms = call.duration_ms ?? between(call.started_at, running ? new Date(now).toISOString() : call.finished_at);
  return (
    <li>
      <details class={`fold call call-${call.status}`}>
        <summary>
          <Sign status={call.status} />
          <span class="call-name">{call.name}</span>
          <span class="peek">{oneLine(call.arguments)}</span>
          <span class="call-state">
            {call.status !== "completed" && <span class="call-word">{beingWritten ? "Being written" : statusWord(call.status)}</span>}
            {ms !== undefined && call.status !== "pending" && <span class="ms">{duration(ms)}</span>}
          </span>
          <Icon name="chevron" />
        </summary>
        <div class="fold-body">
          <h3>Arguments</h3>
          <Code text={pretty(call.arguments || "{}")} />
          {call.edited_arguments !== undefined && (
            <>
              <h3>Arguments as they were changed by a person</h3>
              <Code text={pretty(call.edited_arguments)} />
            </>
          )}
          {call.error && (
            <>
              <h3>{call.error.phase ? `Failed in ${call.error.phase}` : "Why it has no result"}</h3>
              <Code text={call.error.message} />
            </>
          )}
          {call.result !== undefined && <Result job={job} call={call} />}
          {call.started_at && (
            <p class="small">
              Started {moment(call.started_at)}
              {call.finished_at && `, ended ${moment(call.finished_at)}`}
            </p>
          )}
        </div>
      </details>
    </li>
  );
}

function Result({ job, call }: { job: string; call: ToolCall }): JSX.Element {
  const [whole, setWhole] = useState<string>();
  const [error, setError] = useState<ApiError>();
  const load = () =>
    void api.toolCall(job, call.id).then(
      (answer) => setWhole(answer.result ?? ""),
      (error) => setError(error as ApiError),
    );
  const shown = whole ?? call.result ?? "";
  return (
    <>
      <h3>Result</h3>
      <Code text={pretty(shown)} />
      {call.result_truncated && whole === undefined && (
        <button type="button" class="button small" onClick={load}>
          Load the whole result
        </button>
      )}
      {error && <Problem error={error} />}
    </>
  );
}
