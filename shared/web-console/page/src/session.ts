// Who is signed in, and how the page was told. A token is kept for this tab only: in sessionStorage, never elsewhere.

import { signal } from "@preact/signals";
import { isSameUser } from "./whose.ts";

export interface Config {
  /** Before the API's paths; empty when it is this page's origin. */
  api: string;
  /** `none`: everybody who reaches it is the user. `bearer`: requests carry a token. */
  sign_in: "none" | "bearer";
  /** Streams are served at the API's origin, whatever name their addresses give it. */
  streams_at_api: boolean;
  /** Origins whose pages may embed this one and pass it a token. */
  embedders: string[];
  version: string;
}

const KEY = "nightshift.token";

export const config = signal<Config>({ api: "", sign_in: "none", streams_at_api: true, embedders: [], version: "" });
export const token = signal<string | null>(read());
/** The API refused the token. */
export const refused = signal(false);
/** A token of somebody else's that a link brought: whoever is signed in is asked first. */
export const offered = signal<string | null>(null);

function read(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

const bare = (value: string): string => value.trim().replace(/^bearer\s+/i, "");

export function signIn(value: string): void {
  const cleaned = bare(value);
  if (cleaned === "") {
    return;
  }
  try {
    sessionStorage.setItem(KEY, cleaned);
  } catch {
    // Without storage the token lives as long as the page.
  }
  refused.value = false;
  offered.value = null;
  token.value = cleaned;
}

export function signOut(): void {
  forget();
  offered.value = null;
  token.value = null;
}

/** The API says that the token is none: it is not kept, and may be replaced without a question. */
export function refuse(): void {
  forget();
  refused.value = true;
}

function forget(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // there was nothing to remove it from
  }
}

/**
 * A token in the address (`#token=…`) is taken and the address made clean, so that it is neither shared nor kept. Anybody
 * can make such a link: where another user is signed in it is only offered, or people would work in somebody else's name.
 */
export function takeTokenFromAddress(): void {
  const fragment = location.hash.replace(/^#/, "");
  const parameters = new URLSearchParams(fragment);
  const given = parameters.get("token");
  if (given === null) {
    return;
  }
  const route = parameters.get("route") ?? "/";
  history.replaceState(null, "", `${location.pathname}${location.search}#${route.startsWith("/") ? route : "/"}`);
  if (token.value === null || isSameUser(token.value, bare(given))) {
    signIn(given);
  } else {
    offered.value = bare(given);
  }
}

/** The embedding page may pass a token: it is told that this page is ready, and only the configured origins are heard. */
export function listenToEmbedder(): void {
  if (window.parent === window) {
    return;
  }
  window.addEventListener("message", (event: MessageEvent<unknown>) => {
    const told = event.data as { type?: unknown; token?: unknown } | null;
    const known = event.source === window.parent && config.value.embedders.includes(event.origin);
    if (known && told?.type === "nightshift.token" && typeof told.token === "string") {
      signIn(told.token);
    }
  });
  for (const origin of config.value.embedders) {
    window.parent.postMessage({ type: "nightshift.ready" }, origin);
  }
}

/** Asks the embedding page for a fresh token, when there is one. */
export function askEmbedder(): void {
  if (window.parent !== window) {
    for (const origin of config.value.embedders) {
      window.parent.postMessage({ type: "nightshift.token_refused" }, origin);
    }
  }
}
