// Small things that several views are made of.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiError } from "../api.ts";
import type { CallStatus, NodeStatus, Status } from "../picture/event.ts";

type AnyStatus = Status | CallStatus | NodeStatus;

const WORDS: Record<AnyStatus, string> = {
  queued: "Queued",
  running: "Running",
  input_required: "Needs you",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
  pending: "Pending",
  active: "Running",
  waiting: "Needs you",
  error: "Failed",
  skipped: "Skipped",
  unknown: "Unknown",
};

const TONES: Record<AnyStatus, string> = {
  queued: "quiet",
  running: "work",
  input_required: "ask",
  completed: "good",
  failed: "bad",
  cancelled: "quiet",
  pending: "quiet",
  active: "work",
  waiting: "ask",
  error: "bad",
  skipped: "quiet",
  unknown: "ask",
};

export function statusWord(status: AnyStatus): string {
  return WORDS[status] ?? status;
}

export function tone(status: AnyStatus): string {
  return TONES[status] ?? "quiet";
}

/** A status as a sign and a word; the sign differs by form, not by colour alone. */
export function StatusMark({ status, quiet = false }: { status: AnyStatus; quiet?: boolean }): JSX.Element {
  return (
    <span class={`mark mark-${tone(status)} ${quiet ? "mark-quiet" : ""}`}>
      <Sign status={status} />
      <span>{statusWord(status)}</span>
    </span>
  );
}

export function Sign({ status }: { status: AnyStatus }): JSX.Element {
  const shape = {
    good: <path d="M4.5 8.2 7 10.7l4.7-5.2" />,
    bad: <path d="m5.3 5.3 5.4 5.4m0-5.4-5.4 5.4" />,
    ask: <path d="M8 4.4v4.4m0 2.6v.2" />,
    work: <path class="arc" d="M8 2.6a5.4 5.4 0 0 1 5.4 5.4" />,
    quiet: status === "queued" || status === "pending" ? <path d="M8 5.2V8l1.9 1.6" /> : <path d="M5.2 8h5.6" />,
  }[tone(status)];
  return (
    <svg class={`sign sign-${tone(status)}`} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <circle class="ring" cx="8" cy="8" r="6.4" />
      {shape}
    </svg>
  );
}

const ICONS = {
  plus: "M8 3.2v9.6M3.2 8h9.6",
  back: "M9.8 3.6 5.4 8l4.4 4.4",
  chevron: "m6 4.2 3.8 3.8L6 11.8",
  trash: "M3.2 4.6h9.6M6.4 4.4V3h3.2v1.4M4.6 4.8l.6 8h5.6l.6-8",
  retry: "M12.6 5.4A5.2 5.2 0 1 0 13.2 8M12.9 2.8v2.9H10",
  stop: "M5 5h6v6H5z",
  copy: "M5.6 5.6h7v7h-7zM3.4 10.2V3.4h6.8",
  down: "M8 3.4v8.8M4.2 8.6 8 12.4l3.8-3.8",
  sun: "M8 5.4a2.6 2.6 0 1 1 0 5.2 2.6 2.6 0 0 1 0-5.2M8 1.8v1.4m0 9.6v1.4M1.8 8h1.4m9.6 0h1.4M3.6 3.6l1 1m6.8 6.8 1 1m0-8.8-1 1m-6.8 6.8-1 1",
  moon: "M12.8 9.6A5.2 5.2 0 0 1 6.4 3.2a5.2 5.2 0 1 0 6.4 6.4",
  half: "M8 2.6a5.4 5.4 0 1 1 0 10.8A5.4 5.4 0 0 1 8 2.6m0 0v10.8",
  out: "M6.6 3H3.4v10h3.2M7 8h6.4m-2.6-2.6L13.4 8l-2.6 2.6",
  tool: "M9.7 3.2a3 3 0 0 1 3.1 3.9L7.1 12.8a1.4 1.4 0 0 1-2-2l5.7-5.7a3 3 0 0 0-1.1-1.9",
  thought: "M8 3c3 0 5.2 1.7 5.2 3.9S11 10.8 8 10.8c-.5 0-1 0-1.5-.1L4 12.6v-2.8C3.2 9.100 2.800 8 2.800 6.900 2.800 4.700 5 3 8 3",
  send: "M8 12.8V3.6M4.200 7.400 8 3.600l3.800 3.800",
} as const;

export function Icon({ name }: { name: keyof typeof ICONS }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={ICONS[name]} />
    </svg>
  );
}

/** What went wrong, with everything that the API found. */
export function Problem({ error, children }: { error: ApiError; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="problem" role="alert">
      <p>{error.message}</p>
      {error.details.length > 0 && error.details.some((detail) => detail.message !== error.message) && (
        <ul>
          {error.details.map((detail, n) => (
            <li key={n}>{detail.message}</li>
          ))}
        </ul>
      )}
      {children}
    </div>
  );
}

/** The present, again every `ms` while `active`. */
export function useNow(ms: number, active = true): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    if (!active) {
      return;
    }
    set(Date.now());
    const timer = setInterval(() => set(Date.now()), ms);
    return () => clearInterval(timer);
  }, [ms, active]);
  return now;
}

/** A question before something that cannot be taken back. */
export function Confirm(props: {
  title: string;
  children: ComponentChildren;
  action: string;
  /** What closes it without doing anything. */
  keep?: string;
  danger?: boolean;
  onConfirm: () => void;
  onClose: () => void;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const closed = useRef(false);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  // The browser's close event is a task of its own, which the next key can overtake: it would take away the same question
  // asked again. So the asker is told at once, and once.
  const close = () => {
    if (!closed.current) {
      closed.current = true;
      dialog.current?.close();
      props.onClose();
    }
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="dialog-title" onCancel={close} onClose={close}>
      <h2 id="dialog-title">{props.title}</h2>
      <div>{props.children}</div>
      <div class="buttons">
        <button type="button" class="button" onClick={close}>
          {props.keep ?? "Keep it"}
        </button>
        <button
          type="button"
          class={`button ${props.danger ? "danger" : "primary"}`}
          onClick={() => {
            props.onConfirm();
            close();
          }}
        >
          {props.action}
        </button>
      </div>
    </dialog>
  );
}

export function Copy({ text, what }: { text: string; what: string }): JSX.Element {
  const [done, set] = useState(false);
  useEffect(() => {
    if (!done) {
      return;
    }
    const timer = setTimeout(() => set(false), 1600);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = () => void navigator.clipboard?.writeText(text).then(() => set(true), () => set(false));
  return (
    <button type="button" class="button small ghost copy" onClick={copy} aria-label={`Copy ${what}`}>
      <Icon name="copy" />
      <span aria-live="polite">{done ? "Copied" : "Copy"}</span>
    </button>
  );
}
