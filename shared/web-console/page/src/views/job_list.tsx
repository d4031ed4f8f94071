// The jobs, newest first, with their filters.

import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ago, moment, shortId } from "../format.ts";
import { filter, jobs, loading, more, next, problem, reload, setFilter, type Since } from "../jobs.ts";
import { type JobSummary, STATUSES, type Status } from "../picture/event.ts";
import { route, to } from "../route.ts";
import { Icon, Problem, Sign, statusWord, useNow } from "./parts.tsx";

export function JobList(): JSX.Element {
  const now = useNow(20_000);
  const list = jobs.value;
  const filtered = filter.value.thread !== "" || filter.value.status !== "" || filter.value.since !== "";
  return (
    <div class="jobs">
      <Filters />
      {problem.value && (
        <Problem error={problem.value}>
          <button type="button" class="button small" onClick={() => void reload()}>
            Try again
          </button>
        </Problem>
      )}
      {list.length === 0 && loading.value && <Loading />}
      {list.length === 0 && !loading.value && !problem.value && (
        <p class="empty">{filtered ? "No job fits this filter." : "No jobs yet. The first one you start is listed here."}</p>
      )}
      {list.length > 0 && (
        <ul class="rows">
          {list.map((job) => (
            <Row key={job.id} job={job} now={now} />
          ))}
        </ul>
      )}
      {next.value !== null && list.length > 0 && (
        <button type="button" class="button ghost wide" disabled={loading.value} onClick={() => void more()}>
          {loading.value ? "Loading…" : "Older jobs"}
        </button>
      )}
    </div>
  );
}

function Row({ job, now }: { job: JobSummary; now: number }): JSX.Element {
  const current = route.value;
  return (
    <li>
      <a
        class="row"
        href={to({ page: "job", id: job.id })}
        aria-current={current.page === "job" && current.id === job.id ? "page" : undefined}
      >
        <Sign status={job.status} />
        <span class={`row-title ${job.title === "" ? "row-unknown" : ""}`}>{job.title || `Job ${shortId(job.id)}`}</span>
        <span class="row-facts">
          <span>{statusWord(job.status)}</span>
          <time dateTime={job.created_at} title={moment(job.created_at)}>
            {ago(job.created_at, now)}
          </time>
          {job.kind === "workflow" && <span>workflow</span>}
          {job.thread_id && <span class="thread">{job.thread_id}</span>}
        </span>
      </a>
    </li>
  );
}

function Loading(): JSX.Element {
  return (
    <div class="skeleton" role="status" aria-label="Loading jobs">
      {[0, 1, 2, 3].map((n) => (
        <div key={n} />
      ))}
    </div>
  );
}

const SINCE: [Since, string][] = [
  ["", "Any time"],
  ["hour", "Last hour"],
  ["day", "Last 24 hours"],
  ["week", "Last 7 days"],
];

function Filters(): JSX.Element {
  const { status, since, thread } = filter.value;
  const [typed, type] = useState(thread);
  const pause = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  // A thread chosen elsewhere is shown in the same frame, and what was being typed does not come after it.
  useLayoutEffect(() => {
    clearTimeout(pause.current);
    type(thread);
  }, [thread]);
  useEffect(() => () => clearTimeout(pause.current), []);
  const narrow = (value: string) => {
    type(value);
    clearTimeout(pause.current);
    pause.current = setTimeout(() => value.trim() !== filter.value.thread && setFilter({ thread: value.trim() }), 350);
  };
  return (
    <form class="filters" role="search" aria-label="Filter jobs" onSubmit={(event) => event.preventDefault()}>
      <select
        aria-label="Status"
        value={status}
        onChange={(event) => setFilter({ status: event.currentTarget.value as Status | "" })}
      >
        <option value="">Any status</option>
        {STATUSES.map((one) => (
          <option key={one} value={one}>
            {statusWord(one)}
          </option>
        ))}
      </select>
      <select
        aria-label="Time"
        value={since}
        onChange={(event) => setFilter({ since: event.currentTarget.value as Since })}
      >
        {SINCE.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
      <div class="thread-filter">
        <input
          type="text"
          aria-label="Thread"
          placeholder="Thread"
          autocomplete="off"
          spellcheck={false}
          value={typed}
          onInput={(event) => narrow(event.currentTarget.value)}
        />
        {thread !== "" && (
          <button type="button" class="button small ghost" aria-label="Show all threads" onClick={() => setFilter({ thread: "" })}>
            Clear
          </button>
        )}
        <button type="button" class="button small ghost icon-only" aria-label="Refresh the list" onClick={() => void reload()}>
          <Icon name="retry" />
        </button>
      </div>
    </form>
  );
}
