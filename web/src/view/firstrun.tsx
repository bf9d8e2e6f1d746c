// The first question: take calls or not. Nothing is chosen for the person, and nothing rings before the answer.

import type { Props } from "./app";
import { privacyText } from "../privacytext";
import { Mark } from "./icons";
import { text } from "../text";
import { useFocusOnArrival } from "./parts";

export function FirstRun({ state, actions }: Props) {
  const heading = useFocusOnArrival<HTMLHeadingElement>();
  const { saving, failure } = state.privacy;
  return (
    <main class="plain" data-testid="screen-first-run">
      <div class="plain__card">
        <p class="brand">
          <Mark />
          <span class="brand__name">{text.appName}</span>
        </p>
        <h1 class="plain__title" tabIndex={-1} ref={heading}>
          {privacyText.firstRun.title}
        </h1>
        <p class="plain__lead">{privacyText.firstRun.lead}</p>
        <div class="firstrun__choice">
          <button class="button" disabled={saving} data-testid="calling-yes" onClick={() => actions.privacy.decide(true)}>
            {privacyText.firstRun.yes}
          </button>
          <button class="button" disabled={saving} data-testid="calling-no" onClick={() => actions.privacy.decide(false)}>
            {privacyText.firstRun.no}
          </button>
        </div>
        <p class="field-error" role="alert">
          {failure ? `${privacyText.save.failed} ${failure.message}` : ""}
        </p>
        <p class="plain__foot">{privacyText.firstRun.foot}</p>
      </div>
    </main>
  );
}
