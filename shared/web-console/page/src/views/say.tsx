// A word to a job that is at work.

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { api, ApiError } from "../api.ts";
import { Icon, Problem } from "./parts.tsx";

export function Say({ job }: { job: string }): JSX.Element {
  const [text, setText] = useState("");
  const [sending, setSending] = useState(false);
  const [sent, setSent] = useState(false);
  const [error, setError] = useState<ApiError>();
  const send = () => {
    const content = text.trim();
    if (content === "" || sending) {
      return;
    }
    setSending(true);
    setError(undefined);
    api
      .say(job, content)
      .then(() => {
        setText("");
        setSent(true);
      })
      .catch((error: unknown) => setError(error as ApiError))
      .finally(() => setSending(false));
  };
  return (
    <form
      class="say"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {error && <Problem error={error} />}
      <div class="say-box">
        <textarea
          rows={1}
          aria-label="Message to the job"
          placeholder="Say something to the job"
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setSent(false);
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              send();
            }
          }}
        />
        <button type="submit" class="button primary icon-only" aria-label="Send the message" disabled={text.trim() === "" || sending}>
          <Icon name="send" />
        </button>
      </div>
      <p class="small" role="status">
        {sent ? "Sent. It is taken in at the next turn." : ""}
      </p>
    </form>
  );
}
