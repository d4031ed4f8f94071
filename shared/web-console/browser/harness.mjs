// What the browser tests stand on: the real `nightshift` on a port that the system chooses, a model that says what a test
// wants said when it wants it said, and Chromium.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const HERE = dirname(fileURLToPath(import.meta.url));
const BINARY = process.env.NIGHTSHIFT_BINARY ?? join(HERE, "../../../target/debug/nightshift");
export const PICTURES = join(HERE, "pictures");
mkdirSync(PICTURES, { recursive: true });

/** A running system; `model` is the address of its model, the built-in demo model without one. */
export async function startSystem(model) {
  if (!existsSync(BINARY)) {
    throw new Error(`${BINARY} is missing: cargo build -p local`);
  }
  const data = mkdtempSync(join(tmpdir(), "nightshift-browser-"));
  // None of the machine's settings: they could name another model.
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith("NIGHTSHIFT_") && name !== "OPENROUTER_API_KEY"),
  );
  if (model !== undefined) {
    Object.assign(environment, { NIGHTSHIFT_MODEL_URL: model, NIGHTSHIFT_MODEL: "scripted" });
  }
  const child = spawn(BINARY, ["--port", "0", "--data", data], { env: environment, stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  const url = await new Promise((resolve, reject) => {
    child.on("exit", (code) => reject(new Error(`nightshift ended with ${code}: ${said}`)));
    child.stdout.on("data", (piece) => {
      said += piece;
      const found = /Console\s+(http:\/\/[^/\s]+)\//.exec(said);
      if (found) resolve(found[1]);
    });
  });
  child.removeAllListeners("exit");
  return {
    url,
    async call(method, path, body) {
      const answer = await fetch(url + path, {
        method,
        headers: body === undefined ? {} : { "content-type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      if (!answer.ok) {
        throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
      }
      return answer.status === 204 ? undefined : answer.json();
    },
    /** The job once it has ended. */
    async ended(id) {
      for (;;) {
        const { last_event: after, status } = await this.call("GET", `/jobs/${id}`);
        if (["completed", "failed", "cancelled"].includes(status)) return this.call("GET", `/jobs/${id}`);
        await this.call("GET", `/jobs/${id}/events?after=${after}&wait=10`);
      }
    },
    stop() {
      return new Promise((resolve) => {
        child.on("exit", () => {
          rmSync(data, { recursive: true, force: true });
          resolve();
        });
        child.kill("SIGKILL");
      });
    },
  };
}

/** A promise that a test settles. */
export function gate() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { opened, open };
}

/**
 * A model whose answers are scripts by the user's text: functions that are given `say` (text), `think` (reasoning),
 * `call` (a tool; its arguments come once `written`) and the turn, from 1.
 */
export async function startModel() {
  const scripts = new Map();
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (piece) => (body += piece));
    request.on("end", () => {
      void answer(JSON.parse(body), response).catch((error) => {
        response.destroy(error);
      });
    });
  });
  const asked = new Map();
  async function answer({ messages, model }, response) {
    const user = messages.findLast((message) => message.role === "user");
    const text = typeof user.content === "string" ? user.content : user.content.map((part) => part.text ?? "").join("");
    const ofModel = scripts.get(`model ${model}`);
    asked.set(model, (asked.get(model) ?? 0) + 1);
    // Scripts of a model count its requests, those of a text the turns of its conversation.
    const turn = ofModel ? asked.get(model) : 1 + messages.filter((message) => message.role === "assistant").length;
    const script = ofModel ?? scripts.get(text);
    if (script === undefined) {
      response.writeHead(400, { "content-type": "application/json" });
      response.end(JSON.stringify({ error: { message: `There is no script for: ${text}` } }));
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    let calls = 0;
    let closed = false;
    response.on("close", () => (closed = true));
    const send = (delta, rest = {}) => {
      if (!closed) response.write(`data: ${JSON.stringify({ id: "a", model: "scripted", choices: [{ index: 0, delta, finish_reason: null }], ...rest })}\n\n`);
    };
    await script(
      {
        say: (content) => send({ content }),
        think: (reasoning) => send({ reasoning }),
        call: async (name, args, written) => {
          const index = calls++;
          const begun = written === undefined ? JSON.stringify(args) : "";
          send({ tool_calls: [{ index, id: `call_${turn}_${index}`, type: "function", function: { name, arguments: begun } }] });
          if (written !== undefined) {
            await written;
            send({ tool_calls: [{ index, function: { arguments: JSON.stringify(args) } }] });
          }
        },
      },
      turn,
    );
    send({}, { choices: [{ index: 0, delta: {}, finish_reason: calls > 0 ? "tool_calls" : "stop" }] });
    send({}, { choices: [], usage: { prompt_tokens: 120, completion_tokens: 48, total_tokens: 168, cost: 0.0021 } });
    response.end("data: [DONE]\n\n");
  }
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    on: (text, script) => scripts.set(text, script),
    /** Of everything that a model of this name is asked; its turns are counted from here. */
    onModel: (name, script) => {
      asked.set(name, 0);
      scripts.set(`model ${name}`, script);
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}

export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    env: { ...process.env, FONTCONFIG_FILE: join(HERE, "fonts.conf") },
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

export const DESKTOP = { width: 1280, height: 860 };
export const PHONE = { width: 390, height: 844 };

/** A fresh profile with one tab; whatever the page complains of is in `complaints`. */
export async function openTab(browser, { width, height } = DESKTOP, scheme = "light") {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    reducedMotion: "reduce",
    locale: "en-GB",
    timezoneId: "UTC",
    deviceScaleFactor: 2,
    hasTouch: width < 500,
    isMobile: width < 500,
  });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  return { context, page, complaints: listen(page) };
}

export function listen(page) {
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // A refused request is logged by the browser itself; the page's own answer to it is what tests look at.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
      complaints.push(message.text());
    }
  });
  return complaints;
}
