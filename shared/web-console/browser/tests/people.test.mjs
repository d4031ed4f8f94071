// Workflows and people in the loop on the real system, and some stages of a recorded one (recorded.mjs says why).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gate, HERE, openTab, startBrowser, startModel, startSystem } from "../harness.mjs";
import { JOB, REFINE, serveRecorded } from "../recorded.mjs";

let browser;
let model;
let system;

before(async () => {
  browser = await startBrowser();
  model = await startModel();
  system = await startSystem(model.url);
});

after(async () => {
  await browser?.close();
  await Promise.all([system?.stop(), model?.stop()]);
});

async function watch(recording, job) {
  const { context, page, complaints } = await openTab(browser);
  const shown = await serveRecorded(context, recording, job);
  await page.goto(`${system.url}/#/jobs/${JOB}`);
  return { context, page, complaints, shown };
}

/** One of the reference documents, with its models' answers. */
function reference(name) {
  const folder = join(HERE, "../../domain/tests/workflows");
  const expected = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8"))[name];
  for (const [of, answers] of Object.entries(expected.model)) {
    model.onModel(of, async ({ say, call }, turn) => {
      const answer = answers[turn - 1];
      for (const { name, arguments: given } of answer.tool_calls ?? []) call(name, given);
      for (const piece of answer.chunks ?? [answer.text ?? (typeof answer === "string" ? answer : "")]) piece && say(piece);
    });
  }
  return { expected, document: readFileSync(join(folder, `${name}.json`), "utf8") };
}

test("a workflow on the real system: pasted, drawn, run, reviewed, and the same in another profile", async () => {
  const { expected, document } = reference("4-while-hitl");
  const { context, page, complaints } = await openTab(browser);
  await page.goto(`${system.url}/#/new`);
  await page.getByText("Run a workflow").click();
  await page.getByLabel("Workflow document").fill(document);
  await page.getByLabel("Input", { exact: true }).fill(expected.input);
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByRole("heading", { name: "Review needed" }).waitFor();
  const state = async (page, name) =>
    /(Pending|Running|Needs you|Completed|Failed|Skipped)/.exec(await page.locator(".node", { hasText: name }).textContent())?.[1];
  assert.deepEqual([await state(page, "Refine loop"), await state(page, "Refiner"), await state(page, "Publisher")], ["Completed", "Completed", "Needs you"]);
  assert.equal(await page.locator(".edge").count(), JSON.parse(document).edges.length);
  await page.getByRole("button", { name: "Approve", exact: true }).click();
  await page.locator('[data-connection="ended"]').waitFor();
  assert.deepEqual([await state(page, "Publisher"), await state(page, "Published")], ["Completed", "Completed"]);
  await page.locator(".node", { hasText: "Refiner" }).click();
  await page.locator(".node-details").getByText("Round 1.").waitFor();
  await page.locator(".node-details").getByRole("button", { name: "Close" }).click();
  await page.getByText("Kept until").waitFor({ state: "attached" });
  const picture = (page) => page.evaluate(() => document.querySelector(".job").innerHTML.replace(/<time[^]*?<\/time>/g, ""));
  const other = await openTab(browser);
  await other.page.goto(page.url());
  await other.page.locator('[data-connection="ended"]').waitFor();
  await other.page.getByText("Kept until").waitFor({ state: "attached" });
  assert.equal(await picture(other.page), await picture(page));
  assert.deepEqual(complaints, []);
  await other.context.close();
  await context.close();
});

test("a workflow of the catalogue is chosen and run", async () => {
  const { expected, document } = reference("3-parallel-merge");
  await system.call("PUT", "/workflows/research", JSON.parse(document));
  const { context, page } = await openTab(browser);
  await page.goto(`${system.url}/#/new`);
  await page.getByText("Run a workflow").click();
  await page.getByLabel("From the catalogue").selectOption("research");
  await page.getByRole("button", { name: "Fan-out" }).waitFor();
  await page.getByLabel("Input", { exact: true }).fill(expected.input);
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.locator('[data-connection="ended"]').waitFor();
  await page.getByRole("heading", { name: "Result" }).waitFor();
  await page.locator(".node", { hasText: "Fan-out" }).click();
  await page.locator(".node-details").getByText("fan:b-pros").waitFor();
  await context.close();
});

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

/** A job on the real system whose model asks for a sum, which has to be approved. */
async function needsApproval(input, more = {}) {
  model.on(input, async ({ say, call }, turn) => (turn === 1 ? call("calculate", { expression: "17% of 2340" }) : say("That is all.")));
  const { id } = await system.call("POST", "/jobs", { input, metadata: { title: input }, tools: ["calculate"], approval: { "*": "always" }, ...more });
  const { context, page, complaints } = await openTab(browser);
  await page.goto(`${system.url}/#/jobs/${id}`);
  await page.getByRole("heading", { name: "Approval needed" }).waitFor();
  return { id, context, page, complaints };
}

test("a call is approved, and the job goes on", async () => {
  const { context, page, complaints } = await needsApproval("Approve this");
  assert.match(await page.locator(".request-open").innerText(), /"expression": "17% of 2340"/);
  await page.getByRole("button", { name: "Approve", exact: true }).click();
  await page.locator('[data-connection="ended"]').waitFor();
  await page.getByText("Answered: Approve by local").waitFor();
  await page.getByText("That is all.").waitFor();
  assert.deepEqual(complaints, []);
  await context.close();
});

test("a call's arguments are changed, and what is no JSON is not sent", async () => {
  const { id, context, page } = await needsApproval("Change this");
  await page.getByRole("button", { name: "Edit the arguments" }).click();
  await page.getByLabel("Arguments").fill("{no json");
  await page.getByRole("button", { name: "Approve with these arguments" }).click();
  await page.getByText("The arguments are not JSON.").waitFor();
  await page.getByLabel("Arguments").fill('{"expression": "6 * 7"}');
  await page.getByRole("button", { name: "Approve with these arguments" }).click();
  await page.locator('[data-connection="ended"]').waitFor();
  const [call] = (await system.call("GET", `/jobs/${id}`)).tool_calls;
  assert.equal(JSON.parse(call.result).result, "42");
  await page.locator(".call summary").click();
  await page.getByText("Arguments as they were changed by a person").waitFor();
  await context.close();
});

test("a call is rejected with a reason, and a second tab's answer comes too late", async () => {
  const { id, context, page } = await needsApproval("Reject this");
  const second = await context.newPage();
  // The second tab does not learn of the first one's answer in time.
  let cut = false;
  await second.route("**/jobs/*/stream?*", (route) => (cut ? route.abort() : route.continue()));
  await second.goto(page.url());
  await second.getByRole("button", { name: "Approve", exact: true }).waitFor();
  cut = true;
  await second.evaluate(() => window.dispatchEvent(new Event("offline")));
  await second.locator(".connection").waitFor();
  await page.getByRole("button", { name: "Reject" }).click();
  await page.getByLabel("Reason").fill("Not today.");
  await page.keyboard.press("Enter");
  await page.locator('[data-connection="ended"]').waitFor();
  assert.match((await system.call("GET", `/jobs/${id}`)).tool_calls[0].error.message, /Not today\./);
  await second.getByRole("button", { name: "Approve", exact: true }).click();
  await second.locator("form.answer .problem").waitFor();
  await context.close();
});

test("a tool of the caller's own is answered by hand", async () => {
  const input = "Look at the door";
  model.on(input, async ({ say, call }, turn) => (turn === 1 ? call("photograph", { what: "door" }) : say("It is red.")));
  const tool = { type: "function", execution: "client", function: { name: "photograph", parameters: { type: "object", properties: { what: { type: "string" } } } } };
  const { id } = await system.call("POST", "/jobs", { input, metadata: { title: input }, tools: [tool] });
  const { context, page } = await openTab(browser);
  await page.goto(`${system.url}/#/jobs/${id}`);
  await page.getByLabel("Result").fill('{"colour": "red"}');
  await page.getByRole("button", { name: "Send the result" }).click();
  await page.getByText("It is red.").waitFor();
  const [call] = (await system.call("GET", `/jobs/${id}`)).tool_calls;
  assert.equal(call.result, '{"colour":"red"}');
  await context.close();
});

test("a budget that is used up is raised", async () => {
  const input = "Something dear";
  model.on(input, async ({ say, call }, turn) => (turn === 1 ? call("calculate", { expression: "1+1" }) : say("It was worth it.")));
  const { id } = await system.call("POST", "/jobs", { input, metadata: { title: input }, tools: ["calculate"], limits: { max_total_tokens: 100 } });
  const { context, page } = await openTab(browser);
  await page.goto(`${system.url}/#/jobs/${id}`);
  await page.getByRole("heading", { name: "The budget is used up" }).waitFor();
  await page.getByLabel("Max total tokens").fill("5000");
  await page.getByRole("button", { name: "As much again" }).click();
  await page.getByText("It was worth it.").waitFor();
  await context.close();
});

test("a message that is sent while a job works is taken in at its next turn", async () => {
  const input = "Working on it";
  const said = gate();
  model.on(input, async ({ call }) => {
    await said.opened;
    call("calculate", { expression: "1+1" });
  });
  model.on("And be quick.", async ({ say }) => say("Quickly, then."));
  const { id } = await system.call("POST", "/jobs", { input, metadata: { title: input }, tools: ["calculate"] });
  const { context, page } = await openTab(browser);
  await page.goto(`${system.url}/#/jobs/${id}`);
  await page.getByLabel("Message to the job").fill("And be quick.");
  await page.keyboard.press("Enter");
  await page.getByText("Sent. It is taken in at the next turn.").waitFor();
  said.open();
  await page.locator('[data-connection="ended"]').waitFor();
  await page.getByRole("heading", { name: "A message was taken in" }).waitFor();
  assert.match(await page.locator(".said").innerText(), /And be quick\./);
  await page.getByText("Quickly, then.").waitFor();
  await context.close();
});

test("a job that failed is retried as a new one", async () => {
  const input = "Not the first time";
  const { id } = await system.call("POST", "/jobs", { input, metadata: { title: input } });
  await system.ended(id); // there is no script yet
  model.on(input, async ({ say }) => say("The second time."));
  const { context, page } = await openTab(browser);
  await page.goto(`${system.url}/#/jobs/${id}`);
  await page.getByRole("button", { name: "Retry" }).click();
  await page.getByText("The second time.").waitFor();
  assert.notEqual(page.url().split("/").at(-1), id);
  await context.close();
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
