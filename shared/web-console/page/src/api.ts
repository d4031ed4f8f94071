// The HTTP API, one function for each thing that the page does with it.

import type { Job, JobSummary, Status, Tool, WorkflowDocument } from "./picture/event.ts";
import { askEmbedder, config, refuse, token } from "./session.ts";

export interface Detail {
  param?: string;
  message: string;
}

/** What the API, or the way to it, said instead of an answer. */
export class ApiError extends Error {
  constructor(
    /** The HTTP status; 0 when there was no answer. */
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: Detail[] = [],
  ) {
    super(message);
  }
}

export const UNREACHABLE = "unreachable";

/** JSON that is sent as it was written, numbers beyond what JavaScript has included. */
export class Json {
  constructor(readonly text: string) {
    JSON.parse(text);
  }
}

/** Sends a request with the token, and reads the answer. */
export async function send<T>(method: string, path: string, body?: unknown, options: RequestInit = {}): Promise<T> {
  const headers = new Headers(options.headers);
  if (token.value !== null) {
    headers.set("authorization", `Bearer ${token.value}`);
  }
  if (body !== undefined) {
    headers.set("content-type", "application/json");
  }
  let answer: Response;
  try {
    answer = await fetch(config.value.api + path, {
      ...options,
      method,
      headers,
      body: body === undefined ? undefined : body instanceof Json ? body.text : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") {
      throw error;
    }
    throw new ApiError(0, UNREACHABLE, "The system cannot be reached. Check that it runs and that you are online.");
  }
  if (!answer.ok) {
    const error = await failure(answer);
    if (error.status === 401 && config.value.sign_in === "bearer") {
      refuse();
      askEmbedder();
    }
    throw error;
  }
  const text = await answer.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

/** Reads an error in the API's form, or makes one of what came instead. */
export async function failure(answer: Response): Promise<ApiError> {
  const { status } = answer;
  let error: { code?: string; message?: string; details?: Detail[] } | undefined;
  try {
    error = ((await answer.json()) as { error?: typeof error }).error;
  } catch {
    error = undefined;
  }
  const fallback =
    status === 401
      ? "You are not signed in, or your token has expired."
      : status === 501
        ? "This part of the API is not built yet in the release that answers here."
        : `The API answered with status ${status}.`;
  return new ApiError(status, error?.code ?? `http_${status}`, error?.message ?? fallback, error?.details ?? []);
}

const job = (id: string) => `/jobs/${encodeURIComponent(id)}`;

export interface Filter {
  thread: string;
  status: Status | "";
}

export interface Page {
  data: JobSummary[];
  next_page: string | null;
}

export const api = {
  jobs: ({ thread, status }: Filter, page: string | null, signal?: AbortSignal): Promise<Page> => {
    const query = new URLSearchParams({ limit: "30" });
    if (thread !== "") query.set("thread_id", thread);
    if (status !== "") query.set("status", status);
    if (page !== null) query.set("page", page);
    return send("GET", `/jobs?${query}`, undefined, { signal });
  },
  job: (id: string, signal?: AbortSignal): Promise<Job> => send("GET", job(id), undefined, { signal }),
  start: (body: unknown, key: string): Promise<Job> =>
    send("POST", "/jobs", body, { headers: { "idempotency-key": key } }),
  cancel: (id: string): Promise<Job> => send("POST", `${job(id)}/cancel`),
  remove: (id: string): Promise<void> => send("DELETE", job(id)),
  retry: (id: string, node?: string): Promise<Job> => send("POST", `${job(id)}/retry`, node ? { node_id: node } : {}),
  say: (id: string, content: string): Promise<unknown> => send("POST", `${job(id)}/messages`, { content }),
  answer: (id: string, request: string, action: string, data?: unknown): Promise<Job> => {
    const body = data instanceof Json ? new Json(`{"action":${JSON.stringify(action)},"data":${data.text}}`) : { action, data };
    return send("POST", `${job(id)}/input_requests/${encodeURIComponent(request)}`, body);
  },
  toolCall: (id: string, call: string): Promise<{ result?: string }> =>
    send("GET", `${job(id)}/tool_calls/${encodeURIComponent(call)}`),
  streamToken: (id: string): Promise<{ stream_url: string }> => send("POST", `${job(id)}/stream_token`),
  tools: (): Promise<{ data: Tool[] }> => send("GET", "/tools"),
  workflows: (): Promise<{ data: { id: string; name?: string; version?: string | number }[] }> =>
    send("GET", "/workflows"),
  workflow: (id: string): Promise<{ document?: WorkflowDocument; workflow?: WorkflowDocument } & Partial<WorkflowDocument>> =>
    send("GET", `/workflows/${encodeURIComponent(id)}`),
};
