// Where the page is: `#/` the list, `#/new` the form, `#/jobs/<id>` a job. In the fragment, so that every address is the
// one page that the server has.

import { signal } from "@preact/signals";

export type Route = { page: "home" } | { page: "new" } | { page: "job"; id: string };

export function parse(hash: string): Route {
  const path = hash.replace(/^#/, "");
  const job = /^\/jobs\/([^/?]+)$/.exec(path);
  if (job) {
    return { page: "job", id: safeDecode(job[1]!) };
  }
  return path === "/new" ? { page: "new" } : { page: "home" };
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const route = signal<Route>(parse(typeof location === "undefined" ? "" : location.hash));

export function listen(): void {
  window.addEventListener("hashchange", () => {
    route.value = parse(location.hash);
  });
}

export function to(next: Route): string {
  return next.page === "home" ? "#/" : next.page === "new" ? "#/new" : `#/jobs/${encodeURIComponent(next.id)}`;
}

export function go(next: Route): void {
  location.hash = to(next);
}
