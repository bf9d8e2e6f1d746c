// In a call: who can see whose address, in plain words, and the switch.

import type { Call, Person } from "../core/model";
import { privacyView, type PrivacyView } from "../core/directview";
import { privacyLine, privacyText } from "../privacytext";
import type { Props } from "./app";
import { DirectIcon, ShieldIcon } from "./icons";
import { BlockButton } from "./standing";

/** The line above the controls. Spoken when it changes. */
export function PrivacyLine({ state, actions, call, peer }: Props & { call: Call | null; peer: Person }) {
  const view = privacyView(call, state.directWish);
  return (
    <div class={view.kind === "direct" ? "callprivacy callprivacy--direct" : "callprivacy"} data-testid="call-privacy" data-kind={view.kind}>
      {view.kind === "direct" ? <DirectIcon /> : <ShieldIcon />}
      <p class="callprivacy__words" aria-live="polite" data-testid="privacy">
        {privacyLine(view, peer.name)}
      </p>
      {call && <Switch view={view} call={call} actions={actions} />}
      {call?.direct && (
        <details class="callprivacy__more">
          <summary data-testid="call-more">{privacyText.call.details}</summary>
          <div class="callprivacy__panel">
            <p>{view.kind === "routed" && view.ask === "never" ? privacyText.call.neverReason : privacyText.call.goDirectHint(peer.name)}</p>
            <BlockButton person={peer} actions={actions} inCall />
          </div>
        </details>
      )}
    </div>
  );
}

function Switch({ view, call, actions }: { view: PrivacyView; call: Call } & Pick<Props, "actions">) {
  switch (view.kind) {
    case "routed":
      if (view.ask === "not_yet") return null;
      return (
        <>
          <button
            class="button button--small"
            data-testid="go-direct"
            aria-disabled={view.ask === "never"}
            aria-describedby={view.ask === "never" ? "direct-never" : undefined}
            onClick={() => view.ask === "possible" && actions.wishDirect(call.id, true)}
          >
            {privacyText.call.goDirect}
          </button>
          {view.ask === "never" && (
            <span class="callprivacy__why" id="direct-never">
              {privacyText.call.neverShort}
            </span>
          )}
        </>
      );
    case "question":
      return null;
    case "waiting":
      return (
        <>
          {view.left && (
            <button class="button button--small" data-testid="go-direct" onClick={() => actions.wishDirect(call.id, true)}>
              {privacyText.call.askAgain}
            </button>
          )}
          <button class="button button--small" data-testid="go-private" onClick={() => actions.wishDirect(call.id, false)}>
            {privacyText.call.withdraw}
          </button>
        </>
      );
    case "connecting":
    case "direct":
      return (
        <button class="button button--small" data-testid="go-private" onClick={() => actions.wishDirect(call.id, false)}>
          {privacyText.call.goPrivate}
        </button>
      );
  }
}

/** The other side's question. It does not take the focus: whoever is typing must not agree by accident. */
export function DirectQuestion({ state, actions, call }: Props & { call: Call | null }) {
  const asks = call !== null && privacyView(call, state.directWish).kind === "question";
  return (
    <div role="status" aria-live="assertive">
      {asks && (
        <div class="problem problem--question" role="group" aria-label={privacyText.call.question(call.peer.name)} data-testid="direct-question">
          <DirectIcon />
          <div class="problem__text">
            <strong>{privacyText.call.question(call.peer.name)}</strong>
            <span>{privacyText.call.questionHint(call.peer.name)}</span>
          </div>
          <button class="button button--small" data-testid="direct-yes" onClick={() => actions.wishDirect(call.id, true)}>
            {privacyText.call.yes}
          </button>
          <button class="button button--small" data-testid="direct-no" onClick={() => actions.wishDirect(call.id, false)}>
            {privacyText.call.no}
          </button>
        </div>
      )}
      {state.directFailure && (
        <p class="chip chip--warn" data-testid="direct-failure">
          {state.directFailure.message || privacyText.call.failed}
        </p>
      )}
    </div>
  );
}
