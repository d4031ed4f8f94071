// The console's start: what the server says about itself, who is signed in, and the first view.

import "./style.css";
import { effect, untracked } from "@preact/signals";
import { render } from "preact";
import { keepFresh, reload } from "./jobs.ts";
import { listen } from "./route.ts";
import { config, type Config, listenToEmbedder, refused, takeTokenFromAddress, token } from "./session.ts";
import "./theme.ts";
import { App } from "./views/app.tsx";
import { followToken } from "./watching.ts";

async function start(): Promise<void> {
  takeTokenFromAddress();
  listen();
  const place = document.getElementById("app")!;
  try {
    const answer = await fetch("console.json", { cache: "no-store" });
    config.value = (await answer.json()) as Config;
  } catch {
    place.textContent = "";
    const told = document.createElement("p");
    told.className = "blank";
    told.textContent = "The system cannot be reached. Check that it runs, and load this page again.";
    place.append(told);
    return;
  }
  listenToEmbedder();
  place.textContent = "";
  render(<App />, place);
  followToken();
  effect(() => {
    // Whoever signs in, or needs not to, sees their jobs.
    const may = config.value.sign_in === "none" || (token.value !== null && !refused.value);
    if (may) {
      untracked(() => void reload());
    }
  });
  keepFresh();
}

void start();
