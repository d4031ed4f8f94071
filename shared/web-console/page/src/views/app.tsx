// The frame: the jobs on the left, what one looks at on the right. On a phone, one of the two.

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { isFinished } from "../picture/event.ts";
import { route, to } from "../route.ts";
import { config, offered, refused, signIn, signOut, token } from "../session.ts";
import { type Theme, theme } from "../theme.ts";
import { announcement, close, watching } from "../watching.ts";
import { called } from "../whose.ts";
import { JobList } from "./job_list.tsx";
import { JobPage } from "./job_page.tsx";
import { Confirm, Icon } from "./parts.tsx";
import { SignIn } from "./sign_in.tsx";
import { StartForm } from "./start_form.tsx";

export function App(): JSX.Element {
  const where = route.value;
  const main = useRef<HTMLElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const narrow = useNarrow();
  const locked = config.value.sign_in === "bearer" && (token.value === null || refused.value);
  const name = where.page === "job" ? `job/${where.id}` : where.page;
  useEffect(() => {
    if (where.page !== "job") {
      close();
    }
  }, [name]);
  // A new page begins at its top, and the keyboard goes on there.
  const first = useRef(true);
  useEffect(() => {
    main.current?.scrollTo(0, 0);
    if (!first.current) {
      main.current?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [name]);
  return (
    <div class={`frame at-${where.page}`}>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      {narrow && where.page === "home" ? (
        <main class="side" ref={main} tabIndex={-1}>
          <h1 class="hidden">Jobs</h1>
          <Side locked={locked} />
        </main>
      ) : (
        !narrow && (
          <nav class="side" aria-label="Jobs">
            <Side locked={locked} />
          </nav>
        )
      )}
      {!(narrow && where.page === "home") && (
        <main class="main" ref={main} tabIndex={-1}>
          <div class="content" ref={content}>
            {locked ? <SignIn /> : where.page === "job" ? <JobPage key={where.id} id={where.id} /> : <StartForm />}
          </div>
          <Follow main={main} content={content} />
        </main>
      )}
      <Offer />
      <p class="hidden" role="status" aria-live="polite">
        {announcement.value}
      </p>
    </div>
  );
}

/** A link that would sign in somebody else: it may come from anybody. */
function Offer(): JSX.Element | null {
  const [given, had] = [offered.value, token.value];
  if (config.value.sign_in !== "bearer" || given === null || had === null) {
    return null;
  }
  return (
    <Confirm
      title="Sign in as somebody else?"
      action="Sign in"
      keep="Stay signed in"
      onConfirm={() => signIn(given)}
      onClose={() => (offered.value = null)}
    >
      <p>
        The link that you followed signs this tab in as <strong>{called(given)}</strong>. You are <strong>{called(had)}</strong>. What you
        write would be the other user's to read.
      </p>
    </Confirm>
  );
}

function Side({ locked }: { locked: boolean }): JSX.Element {
  return (
    <>
      <div class="side-head">
        <a class="brand" href={to({ page: "home" })}>
          <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
            <path d="M16.400 12.400A7.200 7.200 0 0 1 7.600 3.600a7.200 7.200 0 1 0 8.800 8.800" />
            <circle cx="14.200" cy="5.800" r="1.300" />
          </svg>
          Nightshift
        </a>
        <a class="button primary small" href={to({ page: "new" })} aria-current={route.value.page === "new" ? "page" : undefined}>
          <Icon name="plus" /> New job
        </a>
      </div>
      {locked ? (
        <p class="empty">
          {route.value.page === "home" && NARROW.matches ? <a href={to({ page: "new" })}>Sign in</a> : "Sign in"} to see your jobs.
        </p>
      ) : (
        <JobList />
      )}
      <div class="side-foot">
        <ThemeChoice />
        {config.value.sign_in === "bearer" && token.value !== null && (
          <>
            <span class="user" title={called(token.value)}>
              {called(token.value)}
            </span>
            <button type="button" class="button small ghost" onClick={signOut}>
              <Icon name="out" /> Sign out
            </button>
          </>
        )}
        <span class="version">{config.value.version}</span>
      </div>
    </>
  );
}

/** As the style sheet has it. */
const NARROW = window.matchMedia("(max-width: 760px)");

function useNarrow(): boolean {
  const [narrow, set] = useState(NARROW.matches);
  useEffect(() => {
    const changed = () => set(NARROW.matches);
    NARROW.addEventListener("change", changed);
    return () => NARROW.removeEventListener("change", changed);
  }, []);
  return narrow;
}

/** Near enough to the end to be taken along with it, in pixels. */
const NEAR = 96;

/** Keeps the end of a growing text in view, as long as the reader is there; offers to go there when not. */
function Follow({ main, content }: { main: { current: HTMLElement | null }; content: { current: HTMLElement | null } }): JSX.Element | null {
  const seen = watching.value;
  const [away, setAway] = useState(false);
  const stick = useRef(false);
  const live = seen !== null && seen.picture.cursor > 0 && !isFinished(seen.picture.status);
  useEffect(() => {
    stick.current = seen?.job !== null && seen !== null && !isFinished(seen.job!.status);
    setAway(false);
  }, [seen?.id, seen?.job?.id]);
  useEffect(() => {
    const box = main.current;
    if (box === null) {
      return;
    }
    let before = box.scrollTop;
    const onScroll = () => {
      const left = box.scrollHeight - box.clientHeight - box.scrollTop;
      // Only going up lets go: growing text moves the end away without anybody scrolling.
      if (box.scrollTop < before - 1) {
        stick.current = left < 4;
      } else if (left < NEAR) {
        stick.current = true;
      }
      before = box.scrollTop;
      setAway(!stick.current && left >= NEAR);
    };
    box.addEventListener("scroll", onScroll, { passive: true });
    return () => box.removeEventListener("scroll", onScroll);
  }, []);
  useEffect(() => {
    const [box, inner] = [main.current, content.current];
    if (!live || box === null || inner === null) {
      return;
    }
    // Between layout and paint: the end is never seen out of place.
    const observer = new ResizeObserver(() => {
      if (stick.current) {
        box.scrollTop = box.scrollHeight;
      }
    });
    observer.observe(inner);
    return () => observer.disconnect();
  }, [live]);
  if (!live || !away) {
    return null;
  }
  return (
    <button
      type="button"
      class="button small latest"
      onClick={() => {
        stick.current = true;
        main.current?.scrollTo({ top: main.current.scrollHeight });
      }}
    >
      <Icon name="down" /> Latest
    </button>
  );
}

const THEMES: [Theme, string, "half" | "sun" | "moon"][] = [
  ["system", "As the system", "half"],
  ["light", "Light", "sun"],
  ["dark", "Dark", "moon"],
];

function ThemeChoice(): JSX.Element {
  return (
    <fieldset class="themes">
      <legend class="hidden">Colours</legend>
      {THEMES.map(([value, label, icon]) => (
        <label key={value} title={label}>
          <input type="radio" name="theme" class="hidden" checked={theme.value === value} onChange={() => (theme.value = value)} />
          <Icon name={icon} />
          <span class="hidden">{label}</span>
        </label>
      ))}
    </fieldset>
  );
}
