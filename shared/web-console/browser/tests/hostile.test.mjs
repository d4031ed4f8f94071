// Whatever a model, a tool or a caller wrote is shown as text: on the real system, with content that wants to be more.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openTab, startBrowser, startModel, startSystem } from "../harness.mjs";
import { JOB, serveRecorded } from "../recorded.mjs";

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

const IMG = `<img src="https://evil.example/x.png" onerror="window.hacked=1">`;
const SCRIPT = `<script>window.hacked=1</script>`;

async function hostileTab() {
  const opened = await openTab(browser);
  const elsewhere = [];
  opened.page.on("request", (request) => {
    if (!request.url().startsWith(system.url)) elsewhere.push(request.url());
  });
  return { ...opened, elsewhere };
}

async function harmless({ page, complaints, elsewhere }) {
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator("#app img, #app script, #app iframe, #app style, #app object").count(), 0);
  assert.equal(await page.locator('#app a[href^="javascript" i]').count(), 0);
  assert.deepEqual(elsewhere, [], "nobody else is asked for anything");
  assert.deepEqual(complaints, [], "the policy had nothing to stop");
}

test("in markdown, in a tool's arguments and result, in a title and in a thread", async () => {
  const title = `Title ${IMG}`;
  model.on(title, async ({ say, think, call }, turn) => {
    if (turn === 1) {
      think(`Thinking ${SCRIPT} ${IMG}`);
      call("calculate", { expression: IMG });
      return;
    }
    say(`Text ${SCRIPT} and ${IMG}\n\n<iframe src="https://evil.example"></iframe>\n\n<style>body{display:none}</style>\n\n`);
    say(`[a link](javascript:window.hacked=1) ![a picture](https://evil.example/track.png) <a href="javascript:window.hacked=1">raw</a>\n\n`);
    say("```html\n" + SCRIPT + "\n```\n\n| " + IMG + " |\n|---|\n| " + SCRIPT + " |\n");
  });
  const job = await system.call("POST", "/jobs", {
    input: title,
    metadata: { title, [`key ${IMG}`.slice(0, 64)]: SCRIPT },
    thread_id: `thread ${SCRIPT}`,
    tools: ["calculate"],
  });
  const tab = await hostileTab();
  const { page } = tab;
  await page.goto(`${system.url}/#/jobs/${job.id}`);
  await page.locator('[data-connection="ended"]').waitFor();
  for (const fold of await page.locator("summary").all()) await fold.click();
  assert.equal(await page.locator("h1").innerText(), title);
  const told = await page.locator("main").innerText();
  for (const text of [`Thinking ${SCRIPT}`, `Text ${SCRIPT} and ${IMG}`, "<iframe", "<style>", "a link", `thread ${SCRIPT}`]) {
    assert.ok(told.includes(text), `${text} is not shown in:\n${told}`);
  }
  assert.ok(told.includes("evil.example/x.png"), "the tool's arguments");
  await page.locator(".row-title", { hasText: IMG }).waitFor();
  assert.equal(await page.locator("a", { hasText: "a picture" }).getAttribute("href"), "https://evil.example/track.png");
  await harmless(tab);
  await tab.context.close();
});

test("in what only the recorded API has: nodes, requests, notices and errors", async () => {
  const tab = await hostileTab();
  const { page, context } = tab;
  const document = {
    meta: { name: SCRIPT },
    nodes: [{ id: IMG, type: SCRIPT, data: { label: SCRIPT, description: IMG } }],
    edges: [{ source: IMG, target: IMG, label: SCRIPT }],
  };
  await serveRecorded(
    context,
    {
      document,
      parts: [
        [
          { type: "job.running", status: "running" },
          { type: "node.error", node_id: IMG, error: { code: "X", message: SCRIPT }, output: IMG },
          { type: "message.added", content: `${SCRIPT} said` },
          { type: SCRIPT, message: IMG },
          {
            type: "input.requested",
            id: `r"><b`,
            kind: "input",
            prompt: `${IMG} asked`,
            options: [{ id: "x", label: SCRIPT, action: "submit" }],
            input_schema: { type: "object", properties: { [IMG]: { type: "string", title: SCRIPT, description: IMG } } },
            context: { input: SCRIPT },
          },
          { type: "job.failed", status: "failed", output: IMG, error: { code: IMG, message: SCRIPT, tool_name: IMG } },
        ],
      ],
    },
    { metadata: { title: SCRIPT } },
  );
  await page.goto(`${system.url}/#/jobs/${JOB}`);
  await page.locator('[data-connection="ended"]').waitFor();
  await page.locator(".node").click();
  const told = await page.locator("main").innerText();
  for (const text of [`${SCRIPT} said`, `${IMG} asked`]) {
    assert.ok(told.includes(text), `${text} is not shown in:\n${told}`);
  }
  await harmless(tab);
  await context.close();
});

test("the page itself is guarded: nothing inline, nothing framed, no HTML from text", async () => {
  const answer = await fetch(system.url);
  const policy = answer.headers.get("content-security-policy");
  for (const rule of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]) {
    assert.ok(policy.includes(rule), policy);
  }
  const { page, context } = await openTab(browser);
  await page.goto(system.url);
  await page.locator("form.start").waitFor();
  const outcome = await page.evaluate(() => {
    try {
      document.createElement("p").innerHTML = "<b>x</b>";
      return "made";
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(outcome, "TypeError");
  await context.close();
});
