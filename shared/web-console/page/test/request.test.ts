import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, duration, firstSentence, money, oneLine, pretty, visible } from "../src/format.ts";
import { body, cut, EMPTY_DRAFT, readDocument } from "../src/request.ts";
import { parse, to } from "../src/route.ts";
import { data, fields } from "../src/schema.ts";
import { called, isSameUser, whose } from "../src/whose.ts";

test("only what was filled in is sent", () => {
  assert.deepEqual(body({ ...EMPTY_DRAFT, input: "Hi" }), { input: "Hi", metadata: { title: "Hi" } });
  const full = body({
    ...EMPTY_DRAFT,
    input: "Hi",
    model: " m ",
    instructions: "Be brief.",
    tools: ["a", "b"],
    approve: ["b", "gone"],
    thread: "t",
    limits: { max_turns: "3", deadline_seconds: "", max_total_tokens: "", max_cost_usd: "0.5" },
  });
  assert.deepEqual(full, {
    input: "Hi",
    model: "m",
    thread_id: "t",
    instructions: "Be brief.",
    tools: ["a", "b"],
    approval: { b: "always" },
    limits: { max_turns: 3, max_cost_usd: 0.5 },
    metadata: { title: "Hi" },
  });
});

test("a workflow is sent as its document or by its id", () => {
  const document = JSON.stringify({ nodes: [{ id: "s", type: "start" }], edges: [] });
  const own = body({ ...EMPTY_DRAFT, kind: "workflow", input: "x", document, instructions: "not for workflows" });
  assert.deepEqual(own, { input: "x", workflow: JSON.parse(document), metadata: { title: "x" } });
  const known = body({ ...EMPTY_DRAFT, kind: "workflow", input: "x", document, workflowId: "w" });
  assert.deepEqual(known, { input: "x", workflow_id: "w", metadata: { title: "x" } });
  assert.ok("problem" in readDocument("{") && "problem" in readDocument("[]") && "problem" in readDocument('{"nodes":[{}],"edges":[]}'));
});

test("a title has at most the characters that the API lets in", () => {
  const title = (body({ ...EMPTY_DRAFT, input: "😀".repeat(600) }).metadata as { title: string }).title;
  assert.equal([...title].length, 512);
  assert.equal(cut("abc", 3), "abc");
});

test("simple schemas become forms and the form's values data; others do not", () => {
  const schema = {
    type: "object",
    required: ["name", "kind"],
    properties: {
      name: { type: "string", description: "Who" },
      kind: { enum: ["a", "b"] },
      maxCount: { type: "integer", minimum: 1 },
      sure: { type: "boolean" },
    },
  };
  const form = fields(schema, { name: "Ann" })!;
  assert.deepEqual(form.map((field) => [field.kind, field.label, field.required, field.start]), [
    ["text", "Name", true, "Ann"],
    ["choice", "Kind", true, ""],
    ["integer", "Max count", false, ""],
    ["boolean", "Sure", false, false],
  ]);
  assert.deepEqual(data(form, { kind: "b", maxCount: "3", sure: true }), { name: "Ann", kind: "b", maxCount: 3, sure: true });
  assert.deepEqual(data(form, {}), { name: "Ann", sure: false });
  assert.equal(fields({ type: "object", properties: { deep: { type: "object" } } }), undefined);
  assert.equal(fields({ type: "string" }), undefined);
  assert.equal(fields(undefined), undefined);
});

test("figures are short", () => {
  assert.deepEqual([450, 1749, 12_300, 200_000, 7_500_000].map(duration), ["450 ms", "1.7 s", "12 s", "3 min 20 s", "2 h 5 min"]);
  assert.deepEqual([0, 0.0000001, 0.0001, 0.00042, 0.0421, 3].map(money), ["$0", "under $0.000001", "$0.0001", "$0.00042", "$0.042", "$3.00"]);
  const now = Date.parse("2026-11-23T10:00:00Z");
  assert.deepEqual(["2026-11-23T09:59:50Z", "2026-11-23T09:50:00Z", "2026-11-22T10:00:00Z"].map((at) => ago(at, now)), ["just now", "10 min ago", "1 day ago"]);
  assert.equal(oneLine('{"a": "x\\ny", "b": [1]}'), "a: x\ny, b: [1]");
  assert.equal(pretty('{"a":1}'), '{\n  "a": 1\n}');
  assert.equal(pretty("{no"), "{no");
  const nested = { a: [], b: {}, c: [1, [true, null], { d: "x, {\\ \"y\": [" }], "": -1.5e3 };
  assert.equal(pretty(JSON.stringify(nested)), JSON.stringify(nested, null, 2));
  assert.equal(firstSentence("Sums 1.5 and more. Then."), "Sums 1.5 and more.");
});

test("routes are read as they are written, and what is none is the list", () => {
  for (const route of [{ page: "home" }, { page: "new" }, { page: "job", id: "job_01/ä" }] as const) {
    assert.deepEqual(parse(to(route)), route);
  }
  assert.deepEqual(parse("#/jobs/%E0%A4%A"), { page: "job", id: "%E0%A4%A" });
  assert.deepEqual(parse("#x"), { page: "home" });
});

test("what is approved is shown as it is written", () => {
  assert.equal(pretty('{"n":12345678901234567890,"x":1.0,"n":2}'), '{\n  "n": 12345678901234567890,\n  "x": 1.0,\n  "n": 2\n}');
  assert.equal(pretty('{"to":"a\u202eb\u009dc"}'), '{\n  "to": "a\\u202eb\\u009dc"\n}');
  assert.equal(pretty("no json\u202e\r\n"), "no json\\u202e\n");
  assert.equal(visible("e\u0301 👩\u200d👧 \u{e0041}"), "e\u0301 👩\u200d👧 \\udb40\\udc41");
  assert.equal(oneLine('{"a":"x\u202e"}'), "a: x\\u202e");
});

test("a token says whose it is, and two of the same user are told from those of two", () => {
  const jwt = (claims: object) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;
  assert.deepEqual(whose(jwt({ sub: "u1", name: "Zoë" })), { sub: "u1", name: "Zoë" });
  assert.equal(called(jwt({ sub: "u1", name: "Zoë" })), "Zoë (u1)");
  assert.equal(called(jwt({ sub: "auth0|1" })), "auth0|1");
  for (const none of ["", "a.b.c", "x", jwt({ name: "Zoë" }), jwt([])]) assert.equal(whose(none), undefined, none);
  assert.ok(isSameUser(jwt({ sub: "u1", exp: 1 }), jwt({ sub: "u1", exp: 2 })));
  assert.ok(!isSameUser(jwt({ sub: "u1", name: "Zoë" }), jwt({ sub: "u2", name: "Zoë" })));
  assert.ok(isSameUser("a.b.c", "a.b.c") && !isSameUser("a.b.c", "d.e.f"));
});
