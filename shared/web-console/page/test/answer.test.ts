import assert from "node:assert/strict";
import { test } from "node:test";
import { sent, takesData } from "../src/answer.ts";
import type { InputRequest, RequestOption } from "../src/picture/event.ts";

const schema = { type: "object", properties: { text: { type: "string" } } };
const publish: RequestOption = { id: "publish", label: "Publish", action: "approve" };
const asked = (more: object): InputRequest => ({ id: "r", kind: "review", ...more }) as InputRequest;

test("what a reviewer puts into the form is sent as a change, and an untouched form as the approval that it is", () => {
  const review = asked({ input_schema: schema, options: [publish] });
  assert.deepEqual(sent(review, publish, true), { action: "modify", withData: true });
  assert.deepEqual(sent(review, publish, false), { action: "publish", withData: false });
  const reject: RequestOption = { id: "reject", label: "Reject", action: "reject" };
  assert.deepEqual(sent(review, reject, true), { action: "reject", withData: false });
  assert.deepEqual(sent(asked({}), publish, true), { action: "approve", withData: false }, "there is no form");
});

test("what goes in before a node goes with its approval", () => {
  assert.deepEqual(sent(asked({ kind: "approval", input_schema: schema }), publish, true), { action: "approve", withData: true });
  const submit: RequestOption = { id: "submit", label: "Submit", action: "submit" };
  assert.deepEqual(sent(asked({ kind: "input" }), submit, false), { action: "submit", withData: true });
});

test("a call that is to be approved has no form, whatever its arguments have to be", () => {
  const call = asked({ kind: "approval", input_schema: schema, tool_call: { name: "add", arguments: "{}" } });
  assert.equal(takesData(call), false);
  assert.deepEqual(sent(call, { id: "approve", label: "Approve", action: "approve" }, true), { action: "approve", withData: false });
  assert.equal(takesData(asked({ kind: "client_tool", tool_call: { name: "add" } })), true);
});
