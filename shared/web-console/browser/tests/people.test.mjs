// Workflows and input requests, with recorded answers (recorded.mjs says why): the graph, the forms, the answers.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openTab, startBrowser, startSystem } from "../harness.mjs";
import { JOB, REFINE, serveRecorded } from "../recorded.mjs";

let browser;
let system;

before(async () => {
  browser = await startBrowser();
  system = await startSystem();
});

after(async () => {
  await browser?.close();
  await system?.stop();
});

async function watch(recording, job) {
  const { context, page, complaints } = await openTab(browser);
  const shown = await serveRecorded(context, recording, job);
  await page.goto(`${system.url}/#/jobs/${JOB}`);
  return { context, page, complaints, shown };
}

/** A chat job that waits for an answer to this request. */
function asking(request) {
  return {
    parts: [
      [
        { type: "job.queued", status: "queued" },
        { type: "job.running", status: "running" },
        { type: "turn.started", lane: "main", turn: 1, model: "m" },
        { type: "input.requested", ...request },
        { type: "job.input_required", status: "input_required" },
      ],
      [
        { type: "input.resolved", id: request.id, kind: request.kind, answer: { action: "approve", by: "local" } },
        { type: "job.completed", status: "completed", finish_reason: "stop", output: "Done." },
      ],
    ],
  };
}

test("a workflow is a graph whose nodes change as they run", async () => {
  const { context, page, complaints, shown } = await watch(REFINE);
  const node = (name) => page.getByRole("group", { name: "Nodes" }).getByRole("button", { name });
  await node("Refiner").waitFor();
  const names = await page.locator(".node").allInnerTexts();
  assert.equal(names.length, 7);
  const state = async (name) => /(Pending|Running|Needs you|Completed|Failed|Skipped)/.exec((await node(name).textContent()).replace(/\s+/g, " "))[1];
  assert.deepEqual(
    [await state("Triage"), await state("Tech desk"), await state("Refine loop"), await state("Refiner"), await state("Publisher")],
    ["Completed", "Skipped", "Running", "Running", "Pending"],
  );
  await page.getByRole("heading", { name: "Refiner · turn 1" }).waitFor();

  shown.parts = 2;
  await page.getByRole("heading", { name: "Input needed" }).waitFor();
  assert.deepEqual([await state("Refiner"), await state("Publisher")], ["Completed", "Needs you"]);

  shown.parts = 3;
  await page.getByRole("heading", { name: "Why it failed" }).waitFor();
  assert.deepEqual([await state("Publisher"), await state("Published")], ["Completed", "Failed"]);
  await node("Published").click();
  await page.getByText("The template names an unknown node.", { exact: true }).waitFor();
  const retried = page.waitForRequest("**/retry");
  await page.getByRole("button", { name: "Retry from here" }).click();
  await retried;
  assert.deepEqual(shown.answers.at(-1), { path: "retry", body: { node_id: "out" } });
  await node("Refiner").click();
  await page.locator(".node-details").getByText("Round 1.").waitFor();
  assert.deepEqual(complaints, []);
  await context.close();
});

test("an input request is a form of its schema, and its answer is sent once", async () => {
  const { context, page, shown } = await watch(REFINE);
  shown.parts = 2;
  const form = page.locator("form.answer");
  await form.waitFor();
  await form.getByRole("button", { name: "Publish" }).click();
  assert.deepEqual(shown.answers, [], "what is required has to be there");
  await form.getByLabel("Channel").selectOption("Blog");
  await form.getByLabel("Most words").fill("120");
  await form.getByLabel("Urgent").check();
  await form.getByRole("button", { name: "Publish" }).click();
  await form.getByRole("button", { name: "Sending…" }).waitFor();
  assert.deepEqual(shown.answers, [
    { path: "input_requests/req_review", body: { action: "submit", data: { channel: "Blog", words: 120, urgent: true } } },
  ]);
  shown.parts = 3;
  await page.getByText("Answered: Publish by local").waitFor();
  await form.waitFor({ state: "detached" });
  await context.close();
});

test("an answer that somebody else gave first is said to be too late", async () => {
  const { context, page, shown } = await watch(REFINE);
  shown.parts = 2;
  shown.refuse = { status: 409, json: { error: { type: "conflict", code: "already_answered", message: "The request has been answered already." } } };
  const form = page.locator("form.answer");
  await form.getByLabel("Channel").selectOption("Blog");
  await form.getByRole("button", { name: "Publish" }).click();
  await page.getByText("The request has been answered already.").waitFor();
  assert.ok(await form.getByRole("button", { name: "Publish" }).isEnabled());
  await context.close();
});

test("a call is approved, changed or rejected with a reason", async () => {
  const request = {
    id: "req_1",
    kind: "approval",
    prompt: "May the job call `send_mail`?",
    tool_call: { id: "c1", name: "send_mail", arguments: '{"to":"ann@example.com","text":"Hi"}' },
    options: [],
  };
  for (const [act, sent] of [
    [(page) => page.getByRole("button", { name: "Approve", exact: true }).click(), { action: "approve" }],
    [
      async (page) => {
        await page.getByRole("button", { name: "Edit the arguments" }).click();
        await page.getByLabel("Arguments").fill("{no json");
        await page.getByRole("button", { name: "Approve with these arguments" }).click();
        await page.getByText("The arguments are not JSON.").waitFor();
        await page.getByLabel("Arguments").fill('{"to": "bob@example.com"}');
        await page.getByRole("button", { name: "Approve with these arguments" }).click();
      },
      { action: "modify", data: { to: "bob@example.com" } },
    ],
    [
      async (page) => {
        await page.getByRole("button", { name: "Reject" }).click();
        await page.getByLabel("Reason").fill("Not today.");
        await page.keyboard.press("Enter");
      },
      { action: "reject", data: { reason: "Not today." } },
    ],
  ]) {
    const { context, page, shown } = await watch(asking(request), { kind: "chat", model: "m" });
    await page.getByRole("heading", { name: "Approval needed" }).waitFor();
    const answered = page.waitForRequest("**/input_requests/req_1");
    await act(page);
    await answered;
    assert.deepEqual(shown.answers, [{ path: "input_requests/req_1", body: sent }]);
    await context.close();
  }
});

test("a workflow is read, drawn and started from a pasted document, and a wrong one is refused before", async () => {
  const { context, page } = await openTab(browser);
  let sent;
  await context.route("**/jobs", (route) => {
    if (route.request().method() !== "POST") return route.continue();
    sent = route.request().postDataJSON();
    return route.fulfill({ status: 400, json: { error: { type: "invalid_request", code: "invalid_request", message: "The workflow cannot run.", details: [{ param: "workflow", message: "MISSING_MODEL: the node `refiner` has no model." }] } } });
  });
  await context.route("**/workflows", (route) => route.fulfill({ json: { data: [{ id: "wf_1", name: "From the catalogue" }] } }));
  await context.route("**/workflows/wf_1", (route) => route.fulfill({ json: { id: "wf_1", document: REFINE.document } }));
  await page.goto(`${system.url}/#/new`);
  await page.getByText("Run a workflow").click();
  const start = page.getByRole("button", { name: "Start", exact: true });
  await page.getByLabel("Workflow document").fill('{"nodes": []');
  await page.getByText("This is not JSON").waitFor();
  assert.ok(await start.isDisabled());
  await page.getByLabel("Workflow document").fill(JSON.stringify(REFINE.document));
  await page.getByRole("button", { name: "Refiner" }).waitFor();
  await page.getByLabel("Input", { exact: true }).fill("Go");
  await start.click();
  await page.getByText("MISSING_MODEL: the node `refiner` has no model.").waitFor();
  assert.deepEqual(sent.workflow, REFINE.document);
  await page.getByLabel("From the catalogue").selectOption("wf_1");
  await page.getByRole("button", { name: "Publisher" }).waitFor();
  const again = page.waitForResponse((response) => response.request().method() === "POST");
  await start.click();
  await again;
  assert.deepEqual([sent.workflow_id, sent.workflow], ["wf_1", undefined]);
  await context.close();
});
