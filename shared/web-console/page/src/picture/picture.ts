// The picture of a job: what its log amounts to. A pure fold, so that whoever replays the log sees what was seen live,
// and a second tab the same as the first. Nothing here knows a clock, the network or the page.

import type {
  InputRequest,
  JobError,
  LogEvent,
  Metrics,
  NodeStatus,
  Status,
  ToolCall,
  Usage,
} from "./event.ts";
import { isFinished } from "./event.ts";

/** A model call and the tools that it asked for. */
export interface Turn {
  key: string;
  lane: string;
  turn: number;
  attempt: number;
  nodeId?: string;
  model?: string;
  startedAt?: string;
  finishedAt?: string;
  finishReason?: string;
  usage?: Usage;
  text: string;
  reasoning: string;
  calls: ToolCall[];
  /** How often it began anew because its worker was lost. */
  restarts: number;
  waiting?: { until: string; code: string; message: string };
}

/** Something that is told between turns. */
export interface Notice {
  number: number;
  at: string;
  type: string;
  text: string;
  /** Lane and turn, of one that belongs to a turn. */
  place: string;
}

/** A node of a workflow as far as it has come; one entry for each iteration of a loop's body. */
export interface NodeRun {
  key: string;
  id: string;
  iteration?: number;
  status: NodeStatus;
  output?: string;
  error?: { code?: string; message: string };
  route?: string;
  /** What else is to be known about it. */
  note?: string;
  startedAt?: string;
  finishedAt?: string;
}

export type Entry =
  | { kind: "turn"; key: string }
  | { kind: "notice"; notice: Notice }
  | { kind: "request"; id: string };

export interface Picture {
  /** The last event that was taken in. */
  cursor: number;
  status: Status;
  queuedAt?: string;
  startedAt?: string;
  finishedAt?: string;
  /** What there is to tell, in the order in which it first appeared. */
  entries: Entry[];
  turns: Record<string, Turn>;
  nodes: Record<string, NodeRun>;
  requests: Record<string, InputRequest>;
  /** The end, once it has come. */
  end?: { output: string; truncated: boolean; finishReason?: string; usage?: Usage; metrics?: Metrics; error?: JobError };
}

export const EMPTY: Picture = { cursor: 0, status: "queued", entries: [], turns: {}, nodes: {}, requests: {} };

/** Takes in events in order. Those that were taken in already change nothing: after a reconnection some may come again. */
export function replay(picture: Picture, events: readonly LogEvent[]): Picture {
  let next = picture;
  for (const event of events) {
    if (event.number > next.cursor) {
      next = { ...apply(next, event), cursor: event.number };
    }
  }
  return next;
}

function apply(picture: Picture, { number, data }: LogEvent): Picture {
  const type = data.type;
  if (type.startsWith("job.") && type !== "job.stalled") {
    return job(picture, data);
  }
  if (type.startsWith("tool_call.")) {
    return toolCall(picture, data as unknown as ToolCall & { at: string; attempt?: number });
  }
  if (type.startsWith("node.")) {
    return node(picture, data);
  }
  switch (type) {
    case "turn.started":
      // A model call that begins anew thinks anew; one whose tools are taken up again does not come by here.
      return turn(picture, data, (turn) => ({
        ...turn,
        model: text(data.model) ?? turn.model,
        startedAt: turn.startedAt ?? data.at,
        reasoning: "",
        waiting: undefined,
      }));
    case "turn.completed":
      return turn(picture, data, (turn) => ({
        ...turn,
        model: text(data.model) ?? turn.model,
        finishedAt: data.at,
        finishReason: text(data.finish_reason),
        usage: data.usage as Usage | undefined,
        waiting: undefined,
      }));
    case "turn.restarted":
      return restarted(picture, data);
    case "output.delta":
      return turn(picture, data, (turn) => ({ ...turn, text: turn.text + (text(data.text) ?? "") }));
    case "reasoning.delta":
      return turn(picture, data, (turn) => ({ ...turn, reasoning: turn.reasoning + (text(data.text) ?? "") }));
    case "model.waiting":
      return turn(picture, data, (turn) => ({
        ...turn,
        waiting: { until: text(data.until) ?? data.at, code: text(data.code) ?? "", message: text(data.message) ?? "" },
      }));
    case "input.requested":
    case "input.resolved":
      return request(picture, data);
    default:
      return notice(picture, number, data);
  }
}

function job(picture: Picture, data: LogEvent["data"]): Picture {
  const status = (text(data.status) ?? data.type.slice("job.".length)) as Status;
  const next: Picture = { ...picture, status };
  if (status === "queued") {
    next.queuedAt ??= data.at;
  } else if (status === "running") {
    next.startedAt ??= data.at;
  }
  if (isFinished(status)) {
    next.finishedAt = data.at;
    next.end = {
      output: text(data.output) ?? "",
      truncated: data.output_truncated === true,
      finishReason: text(data.finish_reason),
      usage: data.usage as Usage | undefined,
      metrics: data.metrics as Metrics | undefined,
      error: (data.error as JobError | undefined) ?? undefined,
    };
  }
  return next;
}

function turnKey(lane: string, turn: number): string {
  return `${lane}/${turn}`;
}

function turn(
  picture: Picture,
  data: { at: string; lane?: string; turn?: number; attempt?: number; node_id?: string },
  change: (turn: Turn) => Turn,
): Picture {
  const lane = data.lane ?? "main";
  const number = data.turn ?? 1;
  const key = turnKey(lane, number);
  const there = picture.turns[key];
  const begun: Turn = there ?? {
    key,
    lane,
    turn: number,
    attempt: data.attempt ?? 1,
    startedAt: data.at,
    text: "",
    reasoning: "",
    calls: [],
    restarts: 0,
  };
  const changed = change(begun);
  changed.attempt = Math.max(changed.attempt, data.attempt ?? 1);
  changed.nodeId = data.node_id ?? changed.nodeId;
  return {
    ...picture,
    entries: there ? picture.entries : [...picture.entries, { kind: "turn", key }],
    turns: { ...picture.turns, [key]: changed },
  };
}

/** The attempt before was cut off: the lane's text after `output_offset` and this turn's calls are void. */
function restarted(picture: Picture, data: LogEvent["data"]): Picture {
  const lane = data.lane ?? "main";
  let left = typeof data.output_offset === "number" ? data.output_offset : 0;
  const turns = { ...picture.turns };
  const ofLane = Object.values(turns).filter((turn) => turn.lane === lane);
  for (const one of ofLane.sort((a, b) => a.turn - b.turn)) {
    const kept = cutBytes(one.text, left);
    left -= kept.bytes;
    if (kept.text !== one.text) {
      turns[one.key] = { ...one, text: kept.text };
    }
  }
  return turn({ ...picture, turns }, data, (turn) => ({
    ...turn,
    calls: [],
    restarts: turn.restarts + 1,
    finishedAt: undefined,
    waiting: undefined,
  }));
}

/** `text` cut to at most `bytes` bytes of UTF-8 at a character's edge. */
export function cutBytes(text: string, bytes: number): { text: string; bytes: number } {
  const encoded = new TextEncoder().encode(text);
  if (encoded.length <= bytes) {
    return { text, bytes: encoded.length };
  }
  let end = Math.max(0, bytes);
  // Bytes 0b10xxxxxx go on a character that began before.
  while (end > 0 && (encoded[end]! & 0xc0) === 0x80) {
    end -= 1;
  }
  return { text: new TextDecoder().decode(encoded.subarray(0, end)), bytes: end };
}

function toolCall(picture: Picture, data: ToolCall & { at: string; attempt?: number }): Picture {
  return turn(picture, data, (turn) => {
    const at = turn.calls.findIndex((call) => call.id === data.id);
    const calls = at < 0 ? [...turn.calls, data] : turn.calls.map((call, n) => (n === at ? { ...call, ...data } : call));
    return { ...turn, calls };
  });
}

function node(picture: Picture, data: LogEvent["data"]): Picture {
  const id = data.node_id ?? "";
  const iteration = typeof data.iteration === "number" ? data.iteration : undefined;
  const key = iteration === undefined || id.includes("#") ? id : `${id}#${iteration}`;
  const status = data.type.slice("node.".length) as NodeStatus;
  const before: NodeRun = picture.nodes[key] ?? { key, id, iteration, status };
  const begins = status === "active" && before.status !== "waiting";
  const error = data.error as NodeRun["error"] | string | undefined;
  const note = text(data.note) ?? before.note;
  const run: NodeRun = {
    ...before,
    status,
    startedAt: before.startedAt ?? (begins || status === "waiting" ? data.at : undefined),
    finishedAt: status === "completed" || status === "error" || status === "skipped" ? data.at : undefined,
    output: text(data.output) ?? before.output,
    route: text(data.route) ?? before.route,
    note,
    error: typeof error === "string" ? { message: error } : (error ?? undefined),
  };
  return { ...picture, nodes: { ...picture.nodes, [key]: run } };
}

function request(picture: Picture, data: LogEvent["data"]): Picture {
  const inner = (data.input_request ?? data.request ?? data) as InputRequest;
  const id = text(inner.id);
  if (id === undefined) {
    return picture;
  }
  const there = picture.requests[id];
  const changed: InputRequest = { ...there, ...inner, id };
  if (data.type === "input.resolved" && changed.answer === undefined) {
    changed.answer = { action: text(data.action) ?? "resolved", at: data.at };
  }
  return {
    ...picture,
    entries: there ? picture.entries : [...picture.entries, { kind: "request", id }],
    requests: { ...picture.requests, [id]: changed },
  };
}

function notice(picture: Picture, number: number, data: LogEvent["data"]): Picture {
  const told = data.content ?? data.text ?? data.message ?? data.summary ?? data.reason;
  const words = data.type === "context.compacted" && told === undefined ? compacted(data) : plain(told);
  const place = `${data.lane ?? ""}/${data.turn ?? ""}`;
  const notice: Notice = { number, at: data.at, type: data.type, text: words, place };
  // A turn that is begun again tells again how its conversation was made shorter.
  const again = (entry: Entry) =>
    entry.kind === "notice" && entry.notice.type === data.type && entry.notice.place === place && entry.notice.text === words;
  if (data.type === "context.compacted" && picture.entries.some(again)) {
    return picture;
  }
  return { ...picture, entries: [...picture.entries, { kind: "notice", notice }] };
}

function compacted({ messages, tokens_before: before, tokens_after: after, strategy, error }: LogEvent["data"]): string {
  const how = strategy === "truncate" ? "were left out" : "were summarised";
  const size = typeof before === "number" ? `; about ${before} tokens became ${typeof after === "number" ? after : "fewer"}` : "";
  return `${typeof messages === "number" ? messages : "Some"} messages ${how}${size}.${typeof error === "string" ? ` ${error}` : ""}`;
}

/** What a message says as text: chat messages may come in parts. */
function plain(value: unknown): string {
  if (typeof value === "string") {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map((part) => plain((part as { text?: unknown })?.text ?? part)).filter(Boolean).join("\n");
  }
  if (typeof value === "object" && value !== null && "content" in value) {
    return plain(value.content);
  }
  return "";
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** The requests that wait for an answer. */
export function openRequests(picture: Picture): InputRequest[] {
  if (isFinished(picture.status)) {
    return [];
  }
  return Object.values(picture.requests).filter((request) => request.answer === undefined);
}

/** Everything that was used: what the end says, or the turns' sum so far. */
export function usage(picture: Picture): Usage {
  if (picture.end?.usage) {
    return picture.end.usage;
  }
  const sum = { input_tokens: 0, output_tokens: 0, reasoning_tokens: 0, cached_tokens: 0, cost_usd: 0 };
  for (const { usage } of Object.values(picture.turns)) {
    sum.input_tokens += usage?.input_tokens ?? 0;
    sum.output_tokens += usage?.output_tokens ?? 0;
    sum.reasoning_tokens += usage?.reasoning_tokens ?? 0;
    sum.cached_tokens += usage?.cached_tokens ?? 0;
    sum.cost_usd += usage?.cost_usd ?? 0;
  }
  return sum;
}

/**
 * The node of the graph that a name belongs to: names are `node#2` in a loop's second round, `node:branch` for a branch, and
 * `subflow/node` within a subflow.
 */
export function owner(name: string, nodes: ReadonlySet<string>): string | undefined {
  for (let rest = name; rest !== ""; rest = rest.slice(0, Math.max(0, Math.max(...["#", ":", "/"].map((sign) => rest.lastIndexOf(sign)))))) {
    if (nodes.has(rest)) {
      return rest;
    }
  }
  return undefined;
}

/** The latest run of each node of the graph itself: of a loop's body, the last round. */
export function latestRuns(picture: Picture, nodes: ReadonlySet<string>): Record<string, NodeRun> {
  const latest: Record<string, NodeRun> = {};
  for (const run of Object.values(picture.nodes)) {
    const id = nodes.has(run.id) ? run.id : run.id.replace(/#[\d.]+$/, "");
    const there = latest[id];
    if (nodes.has(id) && (there === undefined || (run.iteration ?? 0) >= (there.iteration ?? 0))) {
      latest[id] = run;
    }
  }
  return latest;
}
