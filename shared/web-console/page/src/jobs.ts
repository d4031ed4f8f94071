// The list of jobs: a filter, and the pages that were loaded.

import { batch, signal } from "@preact/signals";
import { api, ApiError, type Filter } from "./api.ts";
import { isFinished, type JobSummary, type Status } from "./picture/event.ts";

export type Since = "" | "hour" | "day" | "week";

const SINCE_MS: Record<Since, number> = { "": Number.POSITIVE_INFINITY, hour: 3_600_000, day: 86_400_000, week: 604_800_000 };
const REFRESH_MS = 5000;

export const filter = signal<Filter & { since: Since }>({ thread: "", status: "", since: "" });
export const jobs = signal<JobSummary[]>([]);
export const next = signal<string | null>(null);
export const loading = signal(true);
export const problem = signal<ApiError | null>(null);

let running: AbortController | undefined;

/** Loads the first page again. What is shown stays until the answer is there. */
export async function reload(): Promise<void> {
  running?.abort();
  const current = (running = new AbortController());
  try {
    const page = await api.jobs(filter.value, null, current.signal);
    const kept = inTime(page.data);
    batch(() => {
      // Pages beyond the first were loaded by hand: they stay where they follow on.
      const last = kept.at(-1)?.id;
      const older = last === undefined || page.next_page === null ? [] : jobs.value.filter((job) => job.id < last);
      jobs.value = [...kept, ...older];
      next.value = older.length > 0 ? next.value : ended(page.data, kept) ? null : page.next_page;
      problem.value = null;
    });
  } catch (error) {
    if (!current.signal.aborted) {
      problem.value = asApiError(error);
    }
  } finally {
    if (running === current) {
      loading.value = false;
    }
  }
}

export async function more(): Promise<void> {
  if (next.value === null) {
    return;
  }
  loading.value = true;
  try {
    const page = await api.jobs(filter.value, next.value);
    const kept = inTime(page.data);
    const known = new Set(jobs.value.map((job) => job.id));
    jobs.value = [...jobs.value, ...kept.filter((job) => !known.has(job.id))];
    next.value = ended(page.data, kept) ? null : page.next_page;
    problem.value = null;
  } catch (error) {
    problem.value = asApiError(error);
  } finally {
    loading.value = false;
  }
}

/** Another filter: what is shown goes, since it may not fit. */
export function setFilter(change: Partial<Filter & { since: Since }>): void {
  batch(() => {
    filter.value = { ...filter.value, ...change };
    jobs.value = [];
    next.value = null;
    loading.value = true;
  });
  void reload();
}

/** Newest first: the first one that is too old ends the list. */
function inTime(page: JobSummary[]): JobSummary[] {
  const oldest = Date.now() - SINCE_MS[filter.value.since];
  return page.filter((job) => Date.parse(job.created_at) >= oldest);
}

function ended(page: JobSummary[], kept: JobSummary[]): boolean {
  return kept.length < page.length;
}

/** A job as it is known from elsewhere, so that the list does not lag behind what one looks at. */
export function noticed(id: string, status: Status): void {
  const at = jobs.value.findIndex((job) => job.id === id);
  if (at >= 0 && jobs.value[at]!.status !== status) {
    jobs.value = jobs.value.map((job, n) => (n === at ? { ...job, status } : job));
  }
}

export function forget(id: string): void {
  jobs.value = jobs.value.filter((job) => job.id !== id);
}

/** Looks again every few seconds while somebody looks at it and something may change. */
export function keepFresh(): void {
  setInterval(() => {
    const changing = jobs.value.some((job) => !isFinished(job.status));
    if (!document.hidden && (changing || problem.value !== null)) {
      void reload();
    }
  }, REFRESH_MS);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      void reload();
    }
  });
  window.addEventListener("online", () => void reload());
}

function asApiError(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError(0, "unknown", String(error));
}
