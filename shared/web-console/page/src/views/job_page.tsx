// One job: what was asked, what happened, and what one can do about it.

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api, ApiError } from "../api.ts";
import { ago, between, count, duration, money, moment, sentence } from "../format.ts";
import { forget, reload, setFilter } from "../jobs.ts";
import { Markdown } from "../markdown.tsx";
import { isFinished, type Job, type WorkflowDocument } from "../picture/event.ts";
import { type Entry, latestRuns, openRequests, owner, type Picture, usage } from "../picture/picture.ts";
import { go, to } from "../route.ts";
import { open, type Watching, watching } from "../watching.ts";
import { Connection } from "./connection.tsx";
import { Facts } from "./facts.tsx";
import { Graph } from "./graph.tsx";
import { RequestView } from "./input_request.tsx";
import { Confirm, Copy, Icon, Problem, StatusMark, useNow } from "./parts.tsx";
import { Say } from "./say.tsx";
import { TurnView } from "./turn.tsx";

export function JobPage({ id }: { id: string }): JSX.Element {
  useEffect(() => void open(id), [id]);
  const seen = watching.value;
  if (seen === null || seen.id !== id) {
    return <Loading />;
  }
  if (seen.job === null) {
    return seen.error ? <Unreadable error={seen.error} id={id} /> : <Loading />;
  }
  return <Shown seen={seen} job={seen.job} />;
}

function Shown({ seen, job }: { seen: Watching; job: Job }): JSX.Element {
  const { picture, connection } = seen;
  const replaying = picture.cursor === 0;
  const live = !isFinished(picture.status) && !replaying;
  const asked = openRequests(picture).map((request) => request.id);
  const document = seen.document ?? unconnected(job, picture);
  const nodes = new Set(document?.nodes.map((node) => node.id));
  const label = (name: string | undefined) => {
    const id = name === undefined ? undefined : owner(name, nodes);
    if (name === undefined || id === undefined) {
      return name;
    }
    const rest = name.slice(id.length);
    const place = rest.startsWith("#") ? ` ${rest.slice(1)}` : rest === "" ? "" : ` · ${rest.slice(1)}`;
    return `${document?.nodes.find((node) => node.id === id)?.data?.label || id}${place}`;
  };
  const [error, setError] = useState<ApiError>();
  const retry = (node?: string) => {
    setError(undefined);
    api.retry(job.id, node).then(
      (next) => {
        void reload();
        go({ page: "job", id: next.id });
      },
      (error) => setError(error as ApiError),
    );
  };
  return (
    <article class="job" data-cursor={picture.cursor} data-connection={connection.state}>
      <Head job={job} picture={picture} onRetry={() => retry()} />
      {error && <Problem error={error} />}
      <Connection connection={connection} />
      {document !== null && (
        <Graph
          document={document}
          latest={latestRuns(picture, nodes)}
          runs={Object.values(picture.nodes)}
          onRetry={isFinished(picture.status) ? retry : undefined}
        />
      )}
      {replaying ? (
        <Skeleton />
      ) : (
        <ol class="timeline" aria-label="What happened">
          {picture.status === "queued" && <li class="aside">It waits in line.</li>}
          {picture.entries.map((entry) => (
            <EntryView key={keyOf(entry)} entry={entry} job={job.id} picture={picture} live={live} asked={asked} label={label} />
          ))}
        </ol>
      )}
      <End job={job} picture={picture} />
      {live && <Say job={job.id} />}
    </article>
  );
}

function keyOf(entry: Entry): string {
  return entry.kind === "turn" ? entry.key : entry.kind === "request" ? `request/${entry.id}` : `notice/${entry.notice.number}`;
}

const NOTICES: Record<string, string> = {
  "message.added": "A message was taken in",
  "context.compacted": "The conversation before was made shorter",
  "job.stalled": "Nothing has moved for a while",
};

function EntryView(props: {
  entry: Entry;
  job: string;
  picture: Picture;
  live: boolean;
  asked: string[];
  label: (node: string | undefined) => string | undefined;
}): JSX.Element | null {
  const { entry, picture, job, live } = props;
  switch (entry.kind) {
    case "turn": {
      const turn = picture.turns[entry.key]!;
      return <TurnView job={job} turn={turn} live={live} label={props.label(turn.nodeId)} />;
    }
    case "request": {
      const request = picture.requests[entry.id]!;
      return <RequestView job={job} request={request} open={live && props.asked.includes(entry.id)} />;
    }
    case "notice": {
      const { type, text, at } = entry.notice;
      return (
        <li class={type === "message.added" ? "said" : "aside"}>
          <h2 class="said-head">
            {NOTICES[type] ?? type} <time dateTime={at}>{moment(at)}</time>
          </h2>
          {text !== "" && <Markdown text={text} />}
        </li>
      );
    }
  }
}

function Head({ job, picture, onRetry }: { job: Job; picture: Picture; onRetry: () => void }): JSX.Element {
  const status = picture.cursor === 0 ? job.status : picture.status;
  const finished = isFinished(status);
  const now = useNow(1000, !finished);
  const [asking, ask] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError>();
  const title = job.metadata?.title?.trim() || job.title || `Job ${job.id}`;
  const ms = between(picture.startedAt ?? picture.queuedAt, picture.finishedAt ?? new Date(now).toISOString());
  const { input_tokens, output_tokens, cost_usd = 0 } = usage(picture);
  const act = (action: () => Promise<unknown>) => {
    setBusy(true);
    setError(undefined);
    action()
      .catch((error: unknown) => setError(error as ApiError))
      .finally(() => setBusy(false));
  };
  const remove = async () => {
    await api.remove(job.id);
    forget(job.id);
    void reload();
    go({ page: "home" });
  };
  return (
    <header class="job-head">
      <a class="back" href={to({ page: "home" })}>
        <Icon name="back" /> Jobs
      </a>
      <h1 class={title.length > 160 ? "long" : ""}>{title}</h1>
      <div class="job-line">
        <p class="job-facts">
          <StatusMark status={status} />
          {ms !== undefined && picture.cursor > 0 && <span class="clock">{finished ? duration(ms) : `${Math.floor(ms / 1000)} s`}</span>}
          {input_tokens + output_tokens > 0 && <span>{count(input_tokens + output_tokens)} tokens</span>}
          {cost_usd > 0 && <span>{money(cost_usd)}</span>}
          <span>{job.model}</span>
          <time dateTime={job.created_at} title={moment(job.created_at)}>
            {ago(job.created_at, now)}
          </time>
          {job.thread_id && (
            <a
              href={to({ page: "home" })}
              class="thread"
              title="Show this thread's jobs"
              onClick={() => setFilter({ thread: job.thread_id ?? "", status: "", since: "" })}
            >
              {job.thread_id}
            </a>
          )}
        </p>
        <div class="buttons">
          {!finished && (
            <button type="button" class="button small" disabled={busy} onClick={() => act(() => api.cancel(job.id))}>
              <Icon name="stop" /> Cancel
            </button>
          )}
          {(status === "failed" || status === "cancelled") && (
            <button type="button" class="button small" disabled={busy} onClick={onRetry}>
              <Icon name="retry" /> Retry
            </button>
          )}
          <button type="button" class="button small ghost" disabled={busy} onClick={() => ask(true)}>
            <Icon name="trash" /> Delete
          </button>
        </div>
      </div>
      {error && <Problem error={error} />}
      {asking && (
        <Confirm title="Delete this job?" action="Delete" danger onConfirm={() => act(remove)} onClose={() => ask(false)}>
          <p>
            Everything of it goes: its log, its text and its calls.
            {!finished && " It is still at work and is cancelled first."} This cannot be undone.
          </p>
        </Confirm>
      )}
    </header>
  );
}

function End({ job, picture }: { job: Job; picture: Picture }): JSX.Element | null {
  const { end } = picture;
  if (end === undefined) {
    return null;
  }
  const shownInTurns = Object.values(picture.turns).some((turn) => turn.text.trim() !== "" && end.output.trim().endsWith(turn.text.trim()));
  return (
    <section class="end" aria-label="Outcome">
      {end.error && (
        <div class="failure">
          <h2>{end.error.code === "cancelled" ? "Cancelled" : "Why it failed"}</h2>
          <p>{sentence(end.error.message)}</p>
          <p class="small">
            {[
              end.error.code,
              end.error.failed_during && `during ${end.error.failed_during.replace(/_/g, " ")}`,
              end.error.tool_name && `in ${end.error.tool_name}`,
              end.error.node_id && `at ${end.error.node_id}`,
            ]
              .filter(Boolean)
              .join(" · ")}
          </p>
        </div>
      )}
      {picture.status === "cancelled" && !end.error && <p class="aside">It was cancelled. What it had written until then is kept.</p>}
      {end.output !== "" && (job.kind === "workflow" || !shownInTurns) && (
        <div class="result">
          <h2>Result</h2>
          <Markdown text={end.output} />
          {end.truncated && <p class="small">There is more than is shown here.</p>}
        </div>
      )}
      {end.output !== "" && <Copy text={end.output} what="the answer" />}
      <Facts job={job} end={end} events={picture.cursor} />
    </section>
  );
}

/** The nodes that ran, when nothing says how they are connected. */
function unconnected(job: Job, picture: Picture): WorkflowDocument | null {
  const ids = [...new Set(Object.values(picture.nodes).map((run) => run.id))];
  if (job.kind !== "workflow" || ids.length === 0) {
    return null;
  }
  return { nodes: ids.map((id, n) => ({ id, type: "node", position: { x: n, y: 0 } })), edges: [] };
}

function Unreadable({ error, id }: { error: ApiError; id: string }): JSX.Element {
  const missing = error.status === 404;
  const passing = error.status === 0 || error.status >= 500;
  return (
    <div class="blank">
      <a class="back" href={to({ page: "home" })}>
        <Icon name="back" /> Jobs
      </a>
      <h1>{missing ? "There is no such job" : "The job cannot be read"}</h1>
      <p>{missing ? "It was deleted, its time to be kept is over, or it is somebody else's." : error.message}</p>
      {passing && <p class="aside">It is tried again by itself.</p>}
      {!missing && (
        <button type="button" class="button" onClick={() => void open(id)}>
          Try again now
        </button>
      )}
    </div>
  );
}

function Loading(): JSX.Element {
  return (
    <div class="job">
      <Skeleton />
    </div>
  );
}

function Skeleton(): JSX.Element {
  return (
    <div class="skeleton lines" role="status" aria-label="Loading the job">
      <div />
      <div />
      <div />
    </div>
  );
}

