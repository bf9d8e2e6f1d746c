// The screens without a session: no sign-in, an expired one, a tab that was copied.

import { useState } from "preact/hooks";
import type { Actions, SignIn } from "../core/view";
import { text } from "../text";
import { Mark } from "./icons";
import { useFocusOnArrival } from "./parts";

export function SignInScreen({ why, actions }: { why: Exclude<SignIn["type"], "in">; actions: Actions }) {
  const heading = useFocusOnArrival<HTMLHeadingElement>();
  const [draft, setDraft] = useState("");
  const [invalid, setInvalid] = useState(false);
  const { title, lead } = why === "none" ? text.signIn : text[why];
  const submit = (event: Event): void => {
    event.preventDefault();
    setInvalid(!actions.signIn(draft));
  };
  return (
    <main class="plain" data-testid={`screen-signin-${why}`}>
      <div class="plain__card">
        <p class="brand">
          <Mark />
          <span class="brand__name">{text.appName}</span>
        </p>
        <h1 class="plain__title" tabIndex={-1} ref={heading}>
          {title}
        </h1>
        <p class="plain__lead">{lead}</p>
        <form class="stack" onSubmit={submit} noValidate>
          <label class="label" for="token">
            {text.signIn.label}
          </label>
          <input
            id="token"
            class="input"
            type="text"
            autocomplete="off"
            spellcheck={false}
            placeholder={text.signIn.placeholder}
            value={draft}
            aria-invalid={invalid}
            aria-describedby={invalid ? "token-error" : undefined}
            data-testid="token-input"
            onInput={(event) => setDraft(event.currentTarget.value)}
          />
          <p id="token-error" class="field-error" role="alert">
            {invalid ? text.signIn.invalid : ""}
          </p>
          <button class="button button--primary" type="submit" data-testid="token-submit">
            {text.signIn.button}
          </button>
        </form>
        <p class="plain__foot">
          {text.signIn.developer} <code>{text.signIn.command}</code>
        </p>
      </div>
    </main>
  );
}

export function TakenOverScreen({ actions }: { actions: Actions }) {
  const heading = useFocusOnArrival<HTMLHeadingElement>();
  return (
    <main class="plain" data-testid="screen-taken-over">
      <div class="plain__card">
        <p class="brand">
          <Mark />
          <span class="brand__name">{text.appName}</span>
        </p>
        <h1 class="plain__title" tabIndex={-1} ref={heading}>
          {text.connection.takenOverTitle}
        </h1>
        <p class="plain__lead">{text.connection.takenOver}</p>
        <button class="button button--primary" onClick={() => actions.reconnect()}>
          {text.connection.useHere}
        </button>
      </div>
    </main>
  );
}
