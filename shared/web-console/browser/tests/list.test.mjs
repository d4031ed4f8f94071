// The list of jobs on the real system: found by thread, status and time, page by page, and deleted.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gate, openTab, startBrowser, startModel, startSystem } from "../harness.mjs";

let browser;
let model;
let system;
let tab;

before(async () => {
  browser = await startBrowser();
  model = await startModel();
  system = await startSystem(model.url);
});

after(async () => {
  await tab?.context.close();
  await browser?.close();
  await Promise.all([system?.stop(), model?.stop()]);
});

const start = (title, more = {}) => system.call("POST", "/jobs", { input: title, metadata: { title }, ...more });
const rows = (page) => page.locator(".row-title");

test("without jobs the list says so; with jobs it shows what they are about, newest first", async () => {
  tab = await openTab(browser);
  const { page } = tab;
  await page.goto(system.url);
  await page.getByText("No jobs yet.").waitFor();
  model.on("The first question", async ({ say }) => say("Yes."));
  model.on("The second question", async ({ say }) => say("No."));
  for (const [title, thread_id] of [["The first question", "alpha"], ["The second question", "beta"]]) {
    await system.ended((await start(title, { thread_id })).id);
  }
  await page.getByRole("button", { name: "Refresh the list" }).click();
  await page.getByText("The first question").waitFor();
  assert.deepEqual(await rows(page).allInnerTexts(), ["The second question", "The first question"]);
});

test("jobs are found by thread, by status and by time", async () => {
  const { page } = tab;
  const busy = gate();
  model.on("Still at work", async ({ say }) => {
    say("…");
    await busy.opened;
  });
  const { id } = await start("Still at work", { thread_id: "alpha" });
  await page.getByRole("button", { name: "Refresh the list" }).click();
  await page.getByText("Still at work").waitFor();

  await page.getByLabel("Thread", { exact: true }).fill("alpha");
  await page.getByText("The second question").waitFor({ state: "detached" });
  await page.getByText("The first question").waitFor();
  assert.deepEqual(await rows(page).allInnerTexts(), ["Still at work", "The first question"]);

  await page.getByLabel("Status").selectOption("completed");
  await page.getByText("Still at work").waitFor({ state: "detached" });
  await page.getByText("The first question").waitFor();
  assert.deepEqual(await rows(page).allInnerTexts(), ["The first question"]);

  await page.getByLabel("Status").selectOption("failed");
  await page.getByText("No job fits this filter.").waitFor();
  await page.getByLabel("Status").selectOption("");
  await page.getByRole("button", { name: "Show all threads" }).click();
  await page.getByText("The second question").waitFor();

  // All were started within this hour; the clock is put forward to make them older.
  await page.getByLabel("Time", { exact: true }).selectOption("hour");
  await page.getByText("The second question").waitFor();
  await page.clock.install({ time: Date.now() + 2 * 3_600_000 });
  await page.getByLabel("Time", { exact: true }).selectOption("day");
  await page.getByText("The second question").waitFor();
  await page.getByLabel("Time", { exact: true }).selectOption("hour");
  await page.clock.runFor(1000);
  await page.getByText("No job fits this filter.").waitFor();
  await page.getByLabel("Time", { exact: true }).selectOption("");
  await page.getByText("The second question").waitFor();

  await system.call("POST", `/jobs/${id}/cancel`);
  busy.open();
  await page.getByRole("button", { name: "Refresh the list" }).click();
  await page.locator(".row", { hasText: "Still at work" }).getByText("Cancelled").waitFor();
});

test("a thread's jobs are listed from one of them", async () => {
  const { context, page } = await openTab(browser);
  await page.goto(system.url);
  await page.locator(".row", { hasText: "The first question" }).click();
  await page.getByRole("main").getByRole("link", { name: "alpha" }).click();
  await page.getByText("The second question").waitFor({ state: "detached" });
  await page.waitForFunction(() => document.querySelector('[aria-label="Thread"]').value === "alpha");
  await context.close();
});

test("older jobs come page by page, and none comes twice", async () => {
  const { context, page } = await openTab(browser);
  model.on("One of many", async ({ say }) => say("ok"));
  const many = await Promise.all(Array.from({ length: 34 }, () => start("One of many")));
  await Promise.all(many.map(({ id }) => system.ended(id)));
  await page.goto(system.url);
  await page.getByRole("button", { name: "Older jobs" }).waitFor();
  assert.equal(await rows(page).count(), 30);
  await page.getByRole("button", { name: "Older jobs" }).click();
  await page.locator(".row").nth(36).scrollIntoViewIfNeeded();
  await page.getByText("The first question").waitFor();
  assert.equal(await rows(page).count(), 37);
  const again = page.waitForResponse((response) => response.url().includes("/jobs?"));
  await page.getByRole("button", { name: "Refresh the list" }).click();
  await again;
  const addresses = await page.locator(".row").evaluateAll((all) => all.map((one) => one.getAttribute("href")));
  assert.equal(new Set(addresses).size, 37);
  await page.getByRole("button", { name: "Older jobs" }).waitFor({ state: "detached" });
  await context.close();
});

test("a job is deleted after a question, and not without", async () => {
  const { context, page } = await openTab(browser);
  await page.goto(system.url);
  await page.getByLabel("Thread", { exact: true }).fill("beta");
  await page.getByText("The second question").waitFor();
  await page.locator(".row", { hasText: "The second question" }).click();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog", { name: "Delete this job?" }).getByRole("button", { name: "Keep it" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  const address = page.url();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByText("No job fits this filter.").waitFor();
  await page.goto(address);
  await page.reload();
  await page.getByRole("heading", { name: "There is no such job" }).waitFor();
  await context.close();
});

test("a question that is asked again at once is there", async () => {
  const { context, page } = await openTab(browser);
  const { data } = await system.call("GET", "/jobs?limit=1");
  await page.goto(`${system.url}/#/jobs/${data[0].id}`);
  const ask = page.getByRole("button", { name: "Delete" });
  await ask.click();
  await page.getByRole("dialog").waitFor();
  // Before the browser's own task tells of the closed dialog: on a busy machine, the next key comes before it.
  await page.evaluate(async () => {
    const open = [...document.querySelectorAll("button")].find((button) => button.innerText.trim() === "Delete" && !button.closest("dialog"));
    [...document.querySelectorAll("dialog button")].find((button) => button.innerText.trim() === "Keep it").click();
    await null;
    open.click();
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
  });
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
  await context.close();
});

test("a system that is away is said to be away, and is found again", async () => {
  const { context, page } = await openTab(browser);
  let away = false;
  await context.route("**/jobs?*", (route) => (away ? route.abort("connectionrefused") : route.continue()));
  await page.goto(system.url);
  await page.getByText("The first question").or(page.getByText("One of many").first()).first().waitFor();
  away = true;
  await page.getByRole("button", { name: "Refresh the list" }).click();
  await page.getByText("The system cannot be reached.").waitFor();
  assert.equal(await rows(page).count(), 30, "what is known stays in view");
  away = false;
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("The system cannot be reached.").waitFor({ state: "detached" });
  await context.close();
});
