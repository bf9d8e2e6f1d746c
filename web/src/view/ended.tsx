// The call is over: why, how long it was, and how to go on.

import type { Ended } from "../core/call";
import { isAskable } from "../core/call";
import type { Actions, ViewState } from "../core/view";
import { privacyText } from "../privacytext";
import { endedText, spoken, text } from "../text";
import { PhoneIcon, VideoIcon } from "./icons";
import { Avatar, useFocusOnArrival } from "./parts";
import { AskButton, BlockButton } from "./standing";

export function EndedScreen({ ended, state, actions }: { ended: Ended; state: ViewState; actions: Actions }) {
  const heading = useFocusOnArrival<HTMLHeadingElement>();
  const { title, hint } = endedText(ended);
  const reason = ended.ending.type === "ended" ? ended.ending.reason : ended.ending.type;
  const { handle } = ended.peer;
  const blocked = state.privacy.lists?.blocks.some(({ person }) => person.handle === handle) ?? false;
  const asked = state.privacy.requests?.outgoing.some(({ person }) => person.handle === handle) ?? false;
  const askable = isAskable(ended);
  return (
    <main class="plain" data-testid="screen-ended" data-reason={reason}>
      <div class="plain__card plain__card--center">
        <Avatar person={ended.peer} size="l" />
        <h1 class="plain__title" tabIndex={-1} ref={heading} data-testid="ended-title">
          {title}
        </h1>
        {hint && <p class="plain__lead">{hint}</p>}
        {ended.durationMs !== null && <p class="plain__lead">{text.ended.lasted(spoken(ended.durationMs))}</p>}
        <div class="person__actions">
          {askable && !asked && <AskButton person={ended.peer} actions={actions} />}
          <button class={askable ? "button" : "button button--primary"} data-testid="call-back" onClick={() => actions.call(ended.peer, ended.video)}>
            {ended.video ? <VideoIcon /> : <PhoneIcon />}
            {ended.role === "caller" ? text.ended.again : text.ended.back}
          </button>
          <button class="button" data-testid="ended-close" onClick={() => actions.dismissEnded()}>
            {text.ended.close}
          </button>
        </div>
        {asked && askable && (
          <p class="plain__lead" role="status" data-testid="asked">
            {privacyText.person.asked}
          </p>
        )}
        <p class="sr-only" role="status">
          {blocked ? privacyText.person.blocked : ""}
        </p>
        {blocked ? (
          <p class="plain__lead" data-testid="blocked">
            {privacyText.person.blocked}
            <button class="button button--quiet" data-testid="unblock" onClick={() => actions.privacy.unblock(handle)}>
              {privacyText.person.unblock}
            </button>
          </p>
        ) : (
          <BlockButton person={ended.peer} actions={actions} />
        )}
      </div>
    </main>
  );
}
