// Light or dark: the system's, unless the reader chose.

import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "nightshift.theme";

function read(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : "system";
  } catch {
    return "system";
  }
}

export const theme = signal<Theme>(read());

effect(() => {
  const chosen = theme.value;
  const root = document.documentElement;
  if (chosen === "system") {
    delete root.dataset.theme;
  } else {
    root.dataset.theme = chosen;
  }
  try {
    chosen === "system" ? localStorage.removeItem(KEY) : localStorage.setItem(KEY, chosen);
  } catch {
    // chosen again the next time
  }
});
