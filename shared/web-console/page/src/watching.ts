// The job that is being looked at: its facts, its picture, and the connection that feeds it.

import { effect, signal } from "@preact/signals";
import { api, ApiError } from "./api.ts";
import { type Connection, Follower } from "./follow.ts";
import { noticed } from "./jobs.ts";
import type { Job, WorkflowDocument } from "./picture/event.ts";
import { EMPTY, type Picture, replay } from "./picture/picture.ts";
import { refused, token } from "./session.ts";

export interface Watching {
  id: string;
  job: Job | null;
  picture: Picture;
  connection: Connection;
  error: ApiError | null;
  document: WorkflowDocument | null;
}

export const watching = signal<Watching | null>(null);
/** What a screen reader is told: changes of the whole job, never its text. */
export const announcement = signal("");

let follower: Follower | undefined;
let opened = 0;

export function close(): void {
  opened += 1;
  follower?.stop();
  follower = undefined;
  watching.value = null;
}

export async function open(id: string): Promise<void> {
  close();
  const me = opened;
  const started: Watching = { id, job: null, picture: EMPTY, connection: { state: "connecting" }, error: null, document: null };
  watching.value = started;
  for (let tries = 0; me === opened; tries += 1) {
    try {
      const job = await api.job(id);
      if (me !== opened) {
        return;
      }
      change({ job, error: null, document: document(job) });
      follow(id, job.stream_url);
      return;
    } catch (error) {
      const known = error instanceof ApiError ? error : new ApiError(0, "unknown", String(error));
      if (me !== opened) {
        return;
      }
      change({ error: known });
      if (known.status !== 0 && known.status < 500 && known.status !== 429) {
        return;
      }
      await later(Math.min(15_000, 1000 * 2 ** tries));
    }
  }
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    window.addEventListener("online", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

function change(change: Partial<Watching>): void {
  if (watching.value !== null) {
    watching.value = { ...watching.value, ...change };
  }
}

const STATUS_NEWS: Partial<Record<string, string>> = {
  running: "The job is running.",
  input_required: "The job waits for your answer.",
  completed: "The job is completed.",
  failed: "The job failed.",
  cancelled: "The job was cancelled.",
};

function follow(id: string, url: string | undefined): void {
  follower = new Follower(id, url, 0, {
    events: (events) => {
      const before = watching.value?.picture ?? EMPTY;
      const picture = replay(before, events);
      change({ picture });
      if (picture.status !== before.status) {
        noticed(id, picture.status);
        announcement.value = STATUS_NEWS[picture.status] ?? "";
      }
    },
    connection: (connection) => {
      const was = watching.value?.connection.state;
      change({ connection });
      if (connection.state === "ended") {
        void refresh(id);
      }
      if (connection.state === "live" && (was === "lost" || was === "offline")) {
        announcement.value = "Connected again.";
      } else if ((connection.state === "lost" || connection.state === "offline") && was === "live") {
        announcement.value = "The connection was lost. It is tried again.";
      }
    },
  });
}

/** What the end changed of a job's facts, such as until when it is kept. */
async function refresh(id: string): Promise<void> {
  const shown = watching.value;
  if (shown?.id !== id || shown.job === null || shown.job.finished_at) {
    return;
  }
  try {
    const job = await api.job(id);
    if (watching.value?.id === id) {
      change({ job });
    }
  } catch {
    // they are left out
  }
}

export function reconnect(): void {
  follower?.now();
}

/** A changed token opens what the old one could not. */
export function followToken(): void {
  let before = token.value;
  effect(() => {
    const now = token.value;
    if (now !== before) {
      before = now;
      const id = watching.peek()?.id;
      if (now !== null && id !== undefined && !refused.peek()) {
        void open(id);
      }
    }
  });
}

/** The graph to draw. */
function document({ workflow }: Job): WorkflowDocument | null {
  const graph = workflow?.graph;
  if (!graph?.nodes?.length) {
    return workflow?.document ?? null;
  }
  const nodes = graph.nodes.map(({ id, type, label, description }) => ({ id, type, data: { label, description } }));
  return { nodes, edges: graph.edges ?? [] };
}

/** A workflow's document, whatever the answer wraps it in. */
export function asDocument(answer: Awaited<ReturnType<typeof api.workflow>>): WorkflowDocument | null {
  const document = answer.document ?? answer.workflow ?? answer;
  return Array.isArray(document.nodes) && Array.isArray(document.edges) ? (document as WorkflowDocument) : null;
}
