import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogEvent } from "../src/picture/event.ts";
import { cutBytes, EMPTY, latestRuns, openRequests, owner, type Picture, replay, usage } from "../src/picture/picture.ts";

const AT = "2026-11-23T10:00:00.000Z";

/** Events numbered from 1; `turn` and `lane` are given where they matter. */
function log(...events: Record<string, unknown>[]): LogEvent[] {
  return events.map((data, n) => ({ number: n + 1, data: { at: AT, lane: "main", attempt: 1, ...data } as LogEvent["data"] }));
}

function texts(picture: Picture): string[] {
  return Object.values(picture.turns).map((turn) => turn.text);
}

const CALL = { type: "tool_call.pending", id: "c1", turn: 1, name: "look", arguments: "{}", status: "pending" };

test("a job's events become turns with text, reasoning and calls", () => {
  const picture = replay(
    EMPTY,
    log(
      { type: "job.queued", status: "queued" },
      { type: "job.running", status: "running" },
      { type: "turn.started", turn: 1, model: "m" },
      { type: "reasoning.delta", turn: 1, text: "hm" },
      { type: "output.delta", turn: 1, text: "He" },
      { type: "output.delta", turn: 1, text: "llo" },
      CALL,
      { ...CALL, type: "tool_call.completed", status: "completed", result: "42", duration_ms: 7 },
      { type: "turn.completed", turn: 1, model: "m", finish_reason: "tool_calls", usage: { input_tokens: 3, output_tokens: 4, cost_usd: 0.5 } },
    ),
  );
  const turn = picture.turns["main/1"]!;
  assert.deepEqual([turn.text, turn.reasoning, turn.model, turn.finishReason], ["Hello", "hm", "m", "tool_calls"]);
  assert.deepEqual(turn.calls.map((call) => [call.id, call.status, call.result, call.duration_ms]), [["c1", "completed", "42", 7]]);
  assert.deepEqual(picture.entries, [{ kind: "turn", key: "main/1" }]);
  assert.deepEqual([picture.status, picture.cursor], ["running", 9]);
  assert.equal(usage(picture).cost_usd, 0.5);
});

test("a restart takes back the lane's text after its offset in bytes, the turn's calls, and nothing earlier", () => {
  const picture = replay(
    EMPTY,
    log(
      { type: "output.delta", turn: 1, text: "Zoë " },
      { ...CALL, turn: 1 },
      { type: "output.delta", turn: 2, text: "was hér" },
      { ...CALL, turn: 2 },
      { type: "output.delta", turn: 1, lane: "other", text: "untouched" },
      { type: "turn.restarted", turn: 2, attempt: 2, output_offset: 5 },
      { type: "turn.started", turn: 2, attempt: 2, model: "m" },
      { type: "output.delta", turn: 2, attempt: 2, text: "is" },
    ),
  );
  assert.deepEqual(texts(picture), ["Zoë ", "is", "untouched"]);
  assert.deepEqual(picture.turns["main/1"]!.calls.length, 1);
  assert.deepEqual(picture.turns["main/2"]!.calls, []);
  assert.deepEqual([picture.turns["main/2"]!.restarts, picture.turns["main/2"]!.attempt], [1, 2]);
});

test("a restart that takes up a turn's tools keeps its text and reasoning; one that asks the model anew does not", () => {
  const before = log(
    { type: "turn.started", turn: 1, model: "m" },
    { type: "reasoning.delta", turn: 1, text: "old" },
    { type: "output.delta", turn: 1, text: "ab" },
    { type: "turn.restarted", turn: 1, attempt: 2, output_offset: 2 },
  );
  assert.deepEqual([replay(EMPTY, before).turns["main/1"]!.text, replay(EMPTY, before).turns["main/1"]!.reasoning], ["ab", "old"]);
  const anew = [...before, { number: 5, data: { type: "turn.started", at: AT, lane: "main", turn: 1, attempt: 2, model: "m" } }];
  assert.equal(replay(EMPTY, anew).turns["main/1"]!.reasoning, "");
});

test("text is cut at a character's edge", () => {
  assert.deepEqual(cutBytes("Zoë", 3), { text: "Zo", bytes: 2 });
  assert.deepEqual(cutBytes("Zoë", 4), { text: "Zoë", bytes: 4 });
  assert.deepEqual(cutBytes("😀", 3), { text: "", bytes: 0 });
});

test("replayed in any pieces, and with repetitions, a log gives the same picture", () => {
  const events = log(
    { type: "job.queued", status: "queued" },
    { type: "job.running", status: "running" },
    { type: "turn.started", turn: 1, model: "m" },
    { type: "output.delta", turn: 1, text: "a" },
    { type: "output.delta", turn: 1, text: "b" },
    CALL,
    { type: "turn.restarted", turn: 1, attempt: 2, output_offset: 1 },
    { type: "output.delta", turn: 1, attempt: 2, text: "c" },
    { type: "message.added", content: "and tomorrow?" },
    { type: "input.requested", id: "r1", kind: "approval", prompt: "May it?" },
    { type: "input.resolved", id: "r1", kind: "approval", answer: { action: "approve" } },
    { type: "node.active", node_id: "n" },
    { type: "node.completed", node_id: "n", output: "done" },
    { type: "job.completed", status: "completed", output: "ac", finish_reason: "stop" },
  );
  const whole = replay(EMPTY, events);
  for (let cut = 0; cut <= events.length; cut += 1) {
    const first = replay(EMPTY, events.slice(0, cut));
    assert.deepEqual(replay(first, events.slice(cut)), whole);
    assert.deepEqual(replay(first, events.slice(Math.max(0, cut - 3))), whole, "with a repetition");
  }
  assert.deepEqual(texts(whole), ["ac"]);
});

test("nothing that was taken in before is changed by what comes later", () => {
  const events = log({ type: "output.delta", turn: 1, text: "a" }, CALL, { ...CALL, type: "tool_call.running", status: "running" });
  const first = replay(EMPTY, events.slice(0, 2));
  const frozen = JSON.stringify(first);
  replay(first, events.slice(2));
  assert.equal(JSON.stringify(first), frozen);
  assert.equal(JSON.stringify(EMPTY), JSON.stringify({ cursor: 0, status: "queued", entries: [], turns: {}, nodes: {}, requests: {} }));
});

test("a request is open until it is answered or the job ends", () => {
  const asked = replay(EMPTY, log({ type: "input.requested", id: "r1", kind: "input", prompt: "Which?" }));
  assert.deepEqual(openRequests(asked).map((request) => request.id), ["r1"]);
  const answered = replay(asked, [{ number: 2, data: { type: "input.resolved", at: AT, id: "r1", answer: { action: "submit", data: "x" } } }]);
  assert.deepEqual(openRequests(answered), []);
  assert.deepEqual([answered.requests.r1!.prompt, answered.requests.r1!.answer], ["Which?", { action: "submit", data: "x" }]);
  const cancelled = replay(asked, [{ number: 2, data: { type: "job.cancelled", at: AT, status: "cancelled", output: "" } }]);
  assert.deepEqual(openRequests(cancelled), []);
});

test("nodes change as they run, and a loop's body is shown in its last round", () => {
  const picture = replay(
    EMPTY,
    log(
      { type: "node.active", node_id: "loop" },
      { type: "node.active", node_id: "body", iteration: 1 },
      { type: "node.completed", node_id: "body", iteration: 1, output: "one" },
      { type: "node.active", node_id: "body", iteration: 2 },
      { type: "node.error", node_id: "body", iteration: 2, error: { code: "TIMEOUT", message: "slow" } },
      { type: "node.skipped", node_id: "out" },
    ),
  );
  const latest = latestRuns(picture, new Set(["loop", "body", "out"]));
  assert.deepEqual([latest.loop!.status, latest.body!.status, latest.body!.iteration, latest.out!.status], ["active", "error", 2, "skipped"]);
  assert.equal(latest.body!.error!.message, "slow");
  assert.equal(picture.nodes["body#1"]!.output, "one");
});

test("rounds, branches and nodes of subflows belong to a node of the graph", () => {
  const nodes = new Set(["loop", "body", "fan", "sub", "odd#1"]);
  const owners = ["body", "body#2", "body#2.1", "fan:pros", "sub/inner", "sub/inner#3:left", "odd#1", "nobody", ""];
  assert.deepEqual(owners.map((name) => owner(name, nodes)), ["body", "body", "body", "fan", "sub", "sub", "odd#1", undefined, undefined]);
  const named = log({ type: "node.active", node_id: "body#1", iteration: 1 }, { type: "node.active", node_id: "body#2", iteration: 2 });
  assert.equal(latestRuns(replay(EMPTY, named), nodes).body!.key, "body#2");
});

test("a shortened conversation is told once, however often its turn is begun", () => {
  const compacted = { type: "context.compacted", lane: "main", turn: 3, messages: 8, tokens_before: 9000, tokens_after: 1200, strategy: "summarize" };
  const failed = { ...compacted, turn: 4, messages: 2, strategy: "truncate", error: "no summary was made" };
  const picture = replay(EMPTY, log(compacted, { type: "turn.restarted", lane: "main", turn: 3, output_offset: 0 }, compacted, failed));
  assert.deepEqual(
    picture.entries.flatMap((entry) => (entry.kind === "notice" ? [entry.notice.text] : [])),
    [
      "8 messages were summarised; about 9000 tokens became 1200.",
      "2 messages were left out; about 9000 tokens became 1200. no summary was made",
    ],
  );
});

test("events that this release does not know are told and break nothing", () => {
  const picture = replay(EMPTY, log({ type: "moon.risen", message: "It is full." }, { type: "output.delta", turn: 1, text: "a" }));
  assert.deepEqual(picture.entries.map((entry) => entry.kind), ["notice", "turn"]);
  assert.equal(picture.cursor, 2);
});
