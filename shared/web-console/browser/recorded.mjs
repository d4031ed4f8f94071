// A workflow's log that was written down from the API's description, served to the page in parts: each stage of it stands
// still for as long as a test looks, and it holds what a real run seldom has at once (a skipped way, a form with a schema,
// a failed output). The same on the real system is in people.test.mjs.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { HERE } from "./harness.mjs";

export const REFINE = JSON.parse(readFileSync(join(HERE, "recorded/refine.json"), "utf8"));
export const JOB = "job_01JDA7Q3W5T8Z2K4M6N8P0R1S3";

const BEGUN = Date.parse("2026-11-23T09:00:00Z");

/** Frames of a log's parts; each part is what one connection brings. */
function frames(events, first) {
  return events
    .map((event, n) => {
      const number = first + n;
      const data = { attempt: 1, ...event, job_id: JOB, at: new Date(BEGUN + number * 400).toISOString() };
      return `id: ${number}\nevent: ${event.type}\ndata: ${JSON.stringify(data)}\n\n`;
    })
    .join("");
}

/**
 * Serves a recorded job in a context. A connection brings the parts up to `shown.parts`, then ends, as the server's do
 * after a while; `answers` collects what the page sends.
 */
export async function serveRecorded(context, { document, parts }, job = {}) {
  const shown = { parts: 1, answers: [], refuse: undefined };
  const numbered = [];
  parts.forEach((events, part) => events.forEach((event) => numbered.push({ part, event })));
  const view = () => ({
    id: JOB,
    object: "job",
    kind: document ? "workflow" : "chat",
    status: "running",
    created_at: new Date(BEGUN).toISOString(),
    expires_at: new Date(BEGUN + 7 * 86_400_000).toISOString(),
    user_id: "local",
    thread_id: "release-notes",
    title: "A note on the autumn release",
    model: "workflow",
    usage: {},
    metrics: {},
    output: "",
    last_event: 0,
    tool_calls: [],
    input_requests: [],
    metadata: { title: "A note on the autumn release" },
    stream_url: `http://127.0.0.1/jobs/${JOB}/stream?token=recorded`,
    ...(document ? { workflow: { name: document.meta.name, document } } : {}),
    ...job,
  });
  await context.route(`**/jobs/${JOB}`, (route) => route.fulfill({ json: view() }));
  await context.route(`**/jobs/${JOB}/stream?*`, (route) => {
    const after = Number(new URL(route.request().url()).searchParams.get("after"));
    const there = numbered.filter(({ part }) => part < shown.parts).map(({ event }) => event);
    const last = there.length === numbered.length;
    const body = `retry: 1000\n\n: ping\n\n${frames(there.slice(after), after + 1)}${last ? "event: done\ndata: [DONE]\n\n" : ""}`;
    return route.fulfill({ contentType: "text/event-stream", body });
  });
  for (const path of ["input_requests/*", "retry", "messages"]) {
    await context.route(`**/jobs/${JOB}/${path}`, (route) => {
      const request = route.request();
      shown.answers.push({ path: new URL(request.url()).pathname.replace(`/jobs/${JOB}/`, ""), body: request.postDataJSON() });
      if (shown.refuse) {
        return route.fulfill(shown.refuse);
      }
      return route.fulfill({ status: path === "messages" ? 202 : 200, json: view() });
    });
  }
  return shown;
}
