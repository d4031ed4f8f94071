// The page for everybody: no axe violations in any view, light and dark, on a desktop and on a phone; the keyboard alone;
// and pictures of the views for people to look at (pictures/).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DESKTOP, gate, openTab, PHONE, PICTURES, startBrowser, startModel, startSystem } from "../harness.mjs";
import { JOB, REFINE, serveRecorded } from "../recorded.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const ANSWER = `Tokyo is **nine hours ahead** of UTC and keeps no summer time.

### What that means for the release

| Step | UTC | Tokyo |
|---|---:|---:|
| Freeze | 09:00 | 18:00 |
| Roll-out | 13:30 | 22:30 |

1. Tell the team in the \`#release\` channel.
2. Start the roll-out with:

\`\`\`sh
nightshift run --workflow release.json "autumn"
\`\`\`

> Anything later than 15:00 UTC falls on the next day in Tokyo. See the [rules](https://example.com/rules).`;

let browser;
let demo;
let model;
let system;
let finished;
const held = gate();

before(async () => {
  browser = await startBrowser();
  model = await startModel();
  [demo, system] = await Promise.all([startSystem(), startSystem(model.url)]);
  model.on("When should the autumn release roll out so that Tokyo sees it the same day?", async ({ think, say, call }, turn) => {
    if (turn === 1) {
      think("The question is about time zones. I ask for the time in Tokyo, and compute the hours that are left until the roll-out.");
      call("get_current_time", { timezone: "Asia/Tokyo" });
      call("calculate", { expression: "13.5 - 9" });
      call("calculate", { expression: "hours until Tokyo" });
    } else {
      say(ANSWER);
    }
  });
  model.on("Summarise the incident of last night", async ({ think, say }) => {
    think("Reading the log.");
    say("## Summary\n\nAt 02:14 a worker was lost in the middle of a turn. Its lease ran out after ten seconds and another worker took the turn over from its **last checkpoint**");
    await held.opened;
  });
  model.on("What was 17% of 2,340 again?", async ({ say }) => say("It is **397.8**."));
  const start = (input, more) => system.call("POST", "/jobs", { input, metadata: { title: input }, tools: ["get_current_time", "calculate"], ...more });
  await system.ended((await start("A question that the model refuses", { thread_id: "support" })).id);
  await system.ended((await start("What was 17% of 2,340 again?", {})).id);
  finished = (await start("When should the autumn release roll out so that Tokyo sees it the same day?", { thread_id: "release-notes" })).id;
  await system.ended(finished);
});

after(async () => {
  held.open();
  await browser?.close();
  await Promise.all([demo?.stop(), system?.stop(), model?.stop()]);
});

async function violations(page) {
  // By the protocol, past the page's own policy, which lets no such script in.
  await page.evaluate(`(() => { ${AXE} })()`).catch(() => undefined);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html.slice(0, 160)} ${node.any.map((one) => one.message).join("; ")}`).join(" | ")}`);
}

const VIEWS = {
  start: async ({ page }) => {
    await page.goto(`${system.url}/#/new`);
    await page.locator(".tool").first().waitFor();
    await page.getByLabel("What is to be done").fill("When should the autumn release roll out so that Tokyo sees it the same day?");
  },
  list: async ({ page }) => {
    await page.goto(system.url);
    await page.getByText("What was 17% of 2,340 again?").waitFor();
  },
  empty: async ({ page }) => {
    await page.goto(demo.url);
    await page.getByText("No jobs yet.").waitFor({ state: "attached" });
  },
  finished: async ({ page }) => {
    await page.goto(`${system.url}/#/jobs/${finished}`);
    await page.locator('[data-connection="ended"]').waitFor();
    await page.getByText("Kept until").waitFor({ state: "attached" });
  },
  "finished-open": async (tab) => {
    await VIEWS.finished(tab);
    for (const fold of await tab.page.locator("main summary").all()) await fold.click();
  },
  live: async (tab) => {
    const { page } = tab;
    const input = "Summarise the incident of last night";
    const { id } = await system.call("POST", "/jobs", { input, metadata: { title: input }, thread_id: "incidents" });
    tab.job = id;
    await page.goto(`${system.url}/#/jobs/${id}`);
    await page.getByText("last checkpoint").waitFor();
  },
  offline: async (tab) => {
    await VIEWS.live(tab);
    await tab.context.setOffline(true);
    await tab.page.getByText("You are offline.").waitFor();
  },
  approval: async (tab) => {
    const { page } = tab;
    const input = "Write to Ann that the release is out";
    model.on(input, async ({ think, call }) => {
      think("She should hear of it.");
      call("calculate", { expression: "2026 - 1999" });
    });
    const { id } = await system.call("POST", "/jobs", { input, metadata: { title: input }, tools: ["calculate"], approval: { "*": "always" } });
    tab.job = id;
    await page.goto(`${system.url}/#/jobs/${id}`);
    await page.getByRole("button", { name: "Approve", exact: true }).waitFor();
  },
  failed: async ({ page }) => {
    const { data } = await system.call("GET", "/jobs?status=failed");
    await page.goto(`${system.url}/#/jobs/${data[0].id}`);
    await page.getByRole("heading", { name: "Why it failed" }).waitFor();
  },
  workflow: async ({ page, context }) => {
    const shown = await serveRecorded(context, REFINE);
    shown.parts = 2;
    await page.goto(`${system.url}/#/jobs/${JOB}`);
    await page.locator("form.answer").waitFor();
  },
  "workflow-node": async ({ page, context }) => {
    const shown = await serveRecorded(context, REFINE);
    shown.parts = 3;
    await page.goto(`${system.url}/#/jobs/${JOB}`);
    await page.getByRole("heading", { name: "Why it failed" }).waitFor();
    await page.locator(".node", { hasText: "Refiner" }).click();
  },
  "workflow-start": async ({ page }) => {
    await page.goto(`${system.url}/#/new`);
    await page.getByText("Run a workflow").click();
    await page.getByLabel("Workflow document").fill(JSON.stringify(REFINE.document, null, 2));
    await page.getByRole("button", { name: "Refiner" }).waitFor();
  },
  delete: async (tab) => {
    await VIEWS.finished(tab);
    await tab.page.getByRole("button", { name: "Delete" }).click();
  },
  missing: async ({ page }) => {
    await page.goto(`${system.url}/#/jobs/job_01JDA7Q3W5T8Z2K4M6N8P0R1S4`);
    await page.getByRole("heading", { name: "There is no such job" }).waitFor();
  },
  "sign-in": async ({ page, context }) => {
    await context.route("**/console.json", (route) =>
      route.fulfill({ json: { api: "", sign_in: "bearer", streams_at_api: true, embedders: [], version: "0.1.0" } }));
    await page.goto(system.url + "/#/new");
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
  },
};

for (const [scheme, screen, size] of [
  ["light", "desktop", DESKTOP],
  ["dark", "desktop", DESKTOP],
  ["light", "phone", PHONE],
  ["dark", "phone", PHONE],
]) {
  test(`no axe violations: ${scheme}, ${screen}`, async () => {
    for (const [name, show] of Object.entries(VIEWS)) {
      const tab = await openTab(browser, size, scheme);
      await show(tab);
      await tab.page.evaluate(() => document.fonts.ready);
      await tab.page.screenshot({ path: join(PICTURES, `${name}-${screen}-${scheme}.png`) });
      const sideways = await tab.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(sideways <= 0, `${name} is ${sideways} px too wide`);
      const main = await tab.page.evaluate(() => { const main = document.querySelector("main"); return main.scrollWidth - main.clientWidth; });
      assert.ok(main <= 0, `${name}'s content is ${main} px too wide`);
      if (name !== "offline") assert.deepEqual(await violations(tab.page), [], name);
      await tab.context.close();
      // The next round's list is to look like this one's.
      if (tab.job) await system.call("DELETE", `/jobs/${tab.job}`);
    }
  });
}

test("by the keyboard alone a job is started, looked at and deleted", async () => {
  const { page, context } = await openTab(browser);
  const focused = () => page.evaluate(() => {
    const { activeElement: at } = document;
    return at.getAttribute("aria-label") ?? at.labels?.[0]?.innerText ?? at.innerText ?? at.tagName;
  });
  const tabTo = async (wanted) => {
    for (let n = 0; n < 40; n += 1) {
      await page.keyboard.press("Tab");
      if (wanted.test(await focused())) return;
    }
    assert.fail(`${wanted} is not reached by Tab`);
  };
  await page.goto(demo.url);
  await page.locator(".tool").first().waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await page.keyboard.press("Enter");
  await tabTo(/What is to be done/);
  await page.keyboard.type("What is 17% of 2,340?");
  await page.keyboard.press("Control+Enter");
  await page.locator('[data-connection="ended"]').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "MAIN", "the keyboard goes on where the new page begins");
  await tabTo(/calculate/);
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(ring, "solid", "one sees where one is");
  await page.keyboard.press("Enter");
  assert.ok(await page.locator(".call").getAttribute("open") !== null);
  await page.keyboard.press("Shift+Tab");
  await page.evaluate(() => document.querySelector("main").focus());
  await tabTo(/^\s*Delete/);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.match(await focused(), /Delete/, "the dialog gives the focus back");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await tabTo(/^\s*Delete$/);
  await page.keyboard.press("Enter");
  await page.getByText("No jobs yet.").waitFor();
  await context.close();
});

test("a screen reader is told of the job's changes, and not of its text", async () => {
  const { page, context } = await openTab(browser);
  await page.addInitScript(() => {
    window.told = [];
    new MutationObserver(() => {
      const text = document.querySelector('#app > .frame > [role="status"]')?.textContent;
      if (text && window.told.at(-1) !== text) window.told.push(text);
    }).observe(document, { childList: true, subtree: true, characterData: true });
  });
  await page.goto(demo.url);
  await page.getByRole("button", { name: "Use the example" }).click();
  await page.keyboard.press("Control+Enter");
  await page.locator('[data-connection="ended"]').waitFor();
  await page.waitForFunction(() => window.told.includes("The job is completed."));
  const told = await page.evaluate(() => window.told);
  assert.ok(told.length <= 2, `${told}`);
  await context.close();
});

test("a token is pasted, kept for the tab, sent with each request, and asked for again when it is refused", async () => {
  const { page, context } = await openTab(browser);
  const tokens = [];
  let refuse = false;
  await context.route("**/console.json", (route) =>
    route.fulfill({ json: { api: "", sign_in: "bearer", streams_at_api: true, embedders: [], version: "0.1.0" } }));
  await context.route(/\/(jobs\?|tools)/, (route) => {
    tokens.push(route.request().headers().authorization);
    return refuse
      ? route.fulfill({ status: 401, json: { message: "Unauthorized" } })
      : route.continue();
  });
  await page.goto(system.url);
  await page.getByLabel("Access token").fill("Bearer a.b.c");
  await page.keyboard.press("Enter");
  await page.getByText("What was 17% of 2,340 again?").waitFor();
  assert.ok(tokens.length > 0 && tokens.every((token) => token === "Bearer a.b.c"), `${tokens}`);
  assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.getItem("nightshift.token")]), [0, "a.b.c"]);
  refuse = true;
  await page.getByRole("button", { name: "Refresh the list" }).click();
  await page.getByText("The token was refused.").waitFor();
  refuse = false;
  // Passed in the address, it does not stay there.
  await page.goto(`${system.url}/#token=d.e.f&route=/new`);
  await page.reload();
  await page.locator(".tool").first().waitFor();
  assert.equal(new URL(page.url()).hash, "#/new");
  assert.equal(tokens.at(-1), "Bearer d.e.f");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await context.close();
});

test("a link does not sign in somebody else without a question, and the page says who is signed in", async () => {
  const { page, context } = await openTab(browser);
  const jwt = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;
  const [own, renewed, other] = [{ sub: "ann", name: "Ann" }, { sub: "ann", name: "Ann", exp: 2 }, { sub: "eve" }].map(jwt);
  let last;
  await context.route("**/console.json", (route) =>
    route.fulfill({ json: { api: "", sign_in: "bearer", streams_at_api: true, embedders: [], version: "0.1.0" } }));
  await context.route(/\/(jobs\?|tools)/, (route) => {
    last = route.request().headers().authorization;
    return route.continue();
  });
  const follow = async (token) => {
    await page.goto("about:blank");
    await page.goto(`${system.url}/#token=${token}&route=/new`);
    await page.locator(".tool").first().waitFor();
    assert.equal(new URL(page.url()).hash, "#/new");
  };
  const kept = () => page.evaluate(() => sessionStorage.getItem("nightshift.token"));
  await follow(own);
  await page.getByText("Ann (ann)").waitFor();
  await follow(renewed);
  assert.equal(await kept(), renewed, "the same user's token is taken as it comes");
  await follow(other);
  const question = page.getByRole("dialog", { name: "Sign in as somebody else?" });
  await question.getByText("eve").waitFor();
  assert.deepEqual(await violations(page), []);
  assert.deepEqual([await kept(), last], [renewed, `Bearer ${renewed}`]);
  await question.getByRole("button", { name: "Stay signed in" }).click();
  await question.waitFor({ state: "detached" });
  await page.reload();
  await page.getByText("Ann (ann)").waitFor();
  await follow(other);
  await question.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.locator(".user", { hasText: "eve" }).waitFor();
  assert.equal(await kept(), other);
  await context.close();
});
