// Whether what is shown is live, said only when it is not.

import type { JSX } from "preact";
import type { Connection as State } from "../follow.ts";
import { reconnect } from "../watching.ts";
import { useNow } from "./parts.tsx";

export function Connection({ connection }: { connection: State }): JSX.Element | null {
  const now = useNow(500, connection.state === "lost");
  switch (connection.state) {
    case "offline":
      return (
        <p class="connection">
          <span>You are offline. The job goes on without you; this page catches up as soon as you are back.</span>
        </p>
      );
    case "lost": {
      const left = Math.max(0, Math.ceil((connection.retryAt - now) / 1000));
      return (
        <p class="connection">
          <span>
            The connection was lost. {left > 0 ? `It is tried again in ${left} s.` : "Connecting…"} The job goes on.
          </span>
          <button type="button" class="button small" onClick={reconnect}>
            Connect now
          </button>
        </p>
      );
    }
    case "refused":
      return (
        <p class="connection">
          <span>
            {connection.error.status === 404 ? "The job is gone: it was deleted." : connection.error.message}
          </span>
        </p>
      );
    default:
      return null;
  }
}
