// Following a job's log: a stream that is opened again, from the last event seen, until the job's last event has come.
// Not an EventSource: that one hides the status of a refusal, and an address whose token has expired has to be replaced.

import { createParser } from "eventsource-parser";
import { api, ApiError, failure } from "./api.ts";
import type { LogEvent } from "./picture/event.ts";
import { config } from "./session.ts";

export type Connection =
  | { state: "connecting" }
  | { state: "live" }
  | { state: "lost"; retryAt: number; tries: number }
  | { state: "offline" }
  | { state: "ended" }
  | { state: "refused"; error: ApiError };

/** The server pings every 15 s: after this much silence the connection is dead, whatever the browser believes. */
const SILENCE_MS = 40_000;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 15_000;
/** Why an attempt was ended that is to be followed by another one at once. */
const AGAIN = "again";

interface Watcher {
  events: (events: LogEvent[]) => void;
  connection: (connection: Connection) => void;
}

export class Follower {
  private readonly ended = new AbortController();
  private attempt = new AbortController();
  private wake: (() => void) | undefined;
  private pending: LogEvent[] = [];
  private scheduled = false;
  private tries = 0;
  private stopped = false;

  constructor(
    private readonly job: string,
    private url: string | undefined,
    private cursor: number,
    private readonly watcher: Watcher,
  ) {
    // What the browser says of the network is a hint: this machine's own address answers without any.
    window.addEventListener("offline", this.again, { signal: this.ended.signal });
    window.addEventListener("online", this.now, { signal: this.ended.signal });
    void this.run();
  }

  /** Tries again at once. */
  readonly now = (): void => {
    this.wake?.();
  };

  stop(): void {
    this.stopped = true;
    this.ended.abort();
    this.attempt.abort();
    this.wake?.();
  }

  /** Finds out whether there is still a way: a connection without one can stay silent for long. */
  private readonly again = (): void => {
    this.attempt.abort(AGAIN);
  };

  private async run(): Promise<void> {
    while (!this.ended.signal.aborted) {
      if (this.tries === 0) {
        this.watcher.connection({ state: "connecting" });
      }
      try {
        if (await this.follow()) {
          this.flush();
          this.watcher.connection({ state: "ended" });
          this.ended.abort();
          return;
        }
        this.tries = 0;
        await this.pause(FIRST_RETRY_MS);
      } catch (error) {
        if (this.ended.signal.aborted) {
          return;
        }
        if (error instanceof ApiError && [401, 403, 404].includes(error.status)) {
          this.watcher.connection({ state: "refused", error });
          this.ended.abort();
          return;
        }
        if (this.attempt.signal.reason !== AGAIN) {
          await this.waitAfterFailure();
        }
      }
    }
  }

  private async waitAfterFailure(): Promise<void> {
    this.tries += 1;
    const delay = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.tries - 1)) * (0.8 + Math.random() * 0.4);
    this.watcher.connection(
      navigator.onLine ? { state: "lost", retryAt: Date.now() + delay, tries: this.tries } : { state: "offline" },
    );
    await this.pause(delay);
  }

  /** One connection; whether the log has come to its end. */
  private async follow(): Promise<boolean> {
    const attempt = new AbortController();
    this.attempt = attempt;
    let silence = setTimeout(() => attempt.abort(), SILENCE_MS);
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => attempt.abort(), SILENCE_MS);
    };
    try {
      const answer = await this.open(attempt.signal);
      if (answer.status === 204 || answer.body === null) {
        return true;
      }
      this.tries = 0;
      this.watcher.connection({ state: "live" });
      let done = false;
      const parser = createParser({
        onEvent: ({ id, event, data }) => {
          if (event === "done") {
            done = true;
          } else if (id !== undefined) {
            this.take(Number(id), data);
          }
        },
      });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done: closed } = await reader.read();
        if (closed || done) {
          return done;
        }
        heard();
        parser.feed(value);
      }
    } finally {
      clearTimeout(silence);
      attempt.abort();
    }
  }

  private async open(signal: AbortSignal): Promise<Response> {
    for (let renewed = false; ; renewed = true) {
      this.url ??= (await api.streamToken(this.job)).stream_url;
      const answer = await fetch(this.address(this.url), { signal, cache: "no-store", credentials: "omit" });
      if (answer.ok) {
        return answer;
      }
      if (answer.status !== 401 || renewed) {
        throw await failure(answer);
      }
      this.url = undefined;
    }
  }

  private address(url: string): string {
    const parsed = new URL(url, location.href);
    // As a parameter: a header of its own would cost a preflight request at every connection.
    parsed.searchParams.set("after", String(this.cursor));
    return config.value.streams_at_api ? config.value.api + parsed.pathname + parsed.search : parsed.href;
  }

  private take(number: number, data: string): void {
    let read: LogEvent["data"];
    try {
      read = JSON.parse(data) as LogEvent["data"];
    } catch {
      return; // what cannot be read cannot be shown
    }
    this.cursor = number;
    this.pending.push({ number, data: read });
    if (!this.scheduled) {
      this.scheduled = true;
      // Once a frame: a burst of events is one change of the page. Hidden tabs have no frames.
      document.hidden ? setTimeout(this.flush, 200) : requestAnimationFrame(this.flush);
    }
  }

  private readonly flush = (): void => {
    this.scheduled = false;
    const events = this.pending;
    this.pending = [];
    if (events.length > 0 && !this.stopped) {
      this.watcher.events(events);
    }
  };

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
