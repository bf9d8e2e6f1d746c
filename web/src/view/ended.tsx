// The call is over: why, how long it was, and how to go on.

import type { Ended } from "../core/call";
import type { Actions } from "../core/view";
import { endedText, spoken, text } from "../text";
import { PhoneIcon, VideoIcon } from "./icons";
import { Avatar, useFocusOnArrival } from "./parts";

export function EndedScreen({ ended, actions }: { ended: Ended; actions: Actions }) {
  const heading = useFocusOnArrival<HTMLHeadingElement>();
  const { title, hint } = endedText(ended);
  const reason = ended.ending.type === "ended" ? ended.ending.reason : ended.ending.type;
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
          <button class="button button--primary" data-testid="call-back" onClick={() => actions.call(ended.peer, ended.video)}>
            {ended.video ? <VideoIcon /> : <PhoneIcon />}
            {ended.role === "caller" ? text.ended.again : text.ended.back}
          </button>
          <button class="button" data-testid="ended-close" onClick={() => actions.dismissEnded()}>
            {text.ended.close}
          </button>
        </div>
      </div>
    </main>
  );
}
