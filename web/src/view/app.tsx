// Which screen is shown.

import { currentCall, incomingCall } from "../core/call";
import type { Actions, ViewState } from "../core/view";
import { noticeText, text } from "../text";
import { CallScreen } from "./call";
import { DevicesDialog } from "./devices";
import { EndedScreen } from "./ended";
import { FirstRun } from "./firstrun";
import { Home } from "./home";
import { CloseIcon } from "./icons";
import { IncomingDialog } from "./incoming";
import { PrivacyPage } from "./privacy";
import { SignInScreen, TakenOverScreen } from "./signin";

export interface Props {
  readonly state: ViewState;
  readonly actions: Actions;
}

export function Screens({ state, actions }: Props) {
  if (state.signIn.type !== "in") return <SignInScreen why={state.signIn.type} actions={actions} />;
  if (state.connection.name === "stopped") return <TakenOverScreen actions={actions} />;
  const incoming = incomingCall(state.calls);
  return (
    <>
      <MainScreen state={state} actions={actions} />
      {incoming && <IncomingDialog key={incoming.id} call={incoming} actions={actions} />}
      {state.dialog === "devices" && <DevicesDialog state={state} actions={actions} />}
      <Notices state={state} actions={actions} />
    </>
  );
}

function MainScreen({ state, actions }: Props) {
  const { placing, ended } = state.calls;
  const current = currentCall(state.calls);
  if (current || (placing && !placing.cancelled)) return <CallScreen state={state} actions={actions} />;
  if (ended) return <EndedScreen ended={ended} state={state} actions={actions} />;
  if (state.privacy.saved && !state.privacy.decided) return <FirstRun state={state} actions={actions} />;
  if (state.page === "privacy") return <PrivacyPage state={state} actions={actions} />;
  return <Home state={state} actions={actions} />;
}

/** What disturbs the connection, for the top of a screen. */
export function ConnectionBanner({ state, actions }: Props) {
  const inCall = currentCall(state.calls) !== null;
  const lost = state.connection.name === "waiting" || (state.connection.name === "connecting" && state.failedTries > 0);
  return (
    <div class="banners" role="status" aria-live="polite">
      {lost && (
        <p class="banner banner--warn" data-testid="banner-lost">
          <span class="spinner" aria-hidden="true" />
          <span class="banner__text">{state.refusal ? text.connection.refused(state.refusal) : inCall ? text.connection.lostInCall : text.connection.lost}</span>
          <button class="button button--quiet" onClick={() => actions.reconnect()}>
            {text.connection.retryNow}
          </button>
        </p>
      )}
    </div>
  );
}

function Notices({ state, actions }: Props) {
  return (
    <div class="notices" role="status" aria-live="polite" data-testid="notices">
      {state.notices.map(({ id, about }) => {
        const { title, hint } = noticeText(about);
        return (
          <div class="notice" key={id}>
            <div class="notice__text">
              <strong>{title}</strong>
              {hint && <span>{hint}</span>}
            </div>
            {about.type !== "answered_elsewhere" && (
              <button class="button button--quiet" onClick={() => actions.call(about.peer, false)}>
                {text.ended.back}
              </button>
            )}
            <button class="iconbutton" aria-label={text.call.dismiss} onClick={() => actions.dismissNotice(id)}>
              <CloseIcon />
            </button>
          </div>
        );
      })}
    </div>
  );
}
