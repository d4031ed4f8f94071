// Where a token is asked for.

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { refused, signIn } from "../session.ts";

export function SignIn(): JSX.Element {
  const [value, set] = useState("");
  return (
    <form
      class="sign-in"
      onSubmit={(event) => {
        event.preventDefault();
        signIn(value);
      }}
    >
      <h1>Sign in</h1>
      <p>Paste an access token (a JWT) of yours for this system. It is kept for this tab only and is gone with it.</p>
      {refused.value && (
        <p class="problem" role="alert">
          The token was refused. It may have expired: paste a fresh one.
        </p>
      )}
      <label class="field">
        <span>Access token</span>
        <input
          type="password"
          class="mono"
          autocomplete="off"
          spellcheck={false}
          value={value}
          onInput={(event) => set(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="button primary large" disabled={value.trim() === ""}>
        Sign in
      </button>
    </form>
  );
}
