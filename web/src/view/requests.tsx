// Strangers who ask for permission to call, and those whom this account asked. Nothing here makes a sound.

import { useState } from "preact/hooks";
import type { CallRequest } from "../core/privacy";
import type { Actions } from "../core/view";
import { privacyText } from "../privacytext";
import { when } from "../text";
import type { Props } from "./app";
import { Entry } from "./people";

/** How long a permission can be given for, in days; the first is offered first. */
const DURATIONS = [30, 1, 7, 90, 365];

export function Requests({ state, actions }: Props) {
  const { requests } = state.privacy;
  if (!requests) return null;
  const { incoming, outgoing } = requests;
  return (
    <>
      {incoming.length === 0 && (
        <div class="hintbox">
          <p class="hintbox__title">{privacyText.requests.none}</p>
          <p>{privacyText.requests.noneHint}</p>
        </div>
      )}
      <ul class="entries" data-testid="requests">
        {incoming.map((request) => (
          <Incoming key={request.person.handle} request={request} actions={actions} />
        ))}
      </ul>
      {outgoing.length > 0 && (
        <>
          <h3 class="choices__title">{privacyText.requests.sent}</h3>
          <ul class="entries" data-testid="requests-sent">
            {outgoing.map(({ person, state: how, createdAt }) => (
              <Entry key={person.handle} person={person} more={`${privacyText.requests.sentState[how]}${dated(createdAt)}`} />
            ))}
          </ul>
        </>
      )}
    </>
  );
}

function Incoming({ request, actions }: { request: CallRequest; actions: Actions }) {
  const [days, setDays] = useState(DURATIONS[0] ?? 30);
  const { person, createdAt } = request;
  const { handle, name } = person;
  const answer = (accept: boolean, block = false): void =>
    actions.privacy.answerRequest(handle, accept ? { accept, grantDays: days } : { accept, block });
  return (
    <Entry person={person} more={`${privacyText.requests.wants}${dated(createdAt)}`}>
      <label class="sr-only" for={`days-${handle}`}>
        {privacyText.requests.howLong}
      </label>
      <select id={`days-${handle}`} class="input input--small" value={days} data-testid={`request-days-${handle}`} onChange={(event) => setDays(Number(event.currentTarget.value))}>
        {[...DURATIONS].sort((a, b) => a - b).map((one) => (
          <option key={one} value={one}>
            {privacyText.requests.days(one)}
          </option>
        ))}
      </select>
      <button class="button button--small button--primary" aria-label={privacyText.requests.acceptFor(name)} data-testid={`request-accept-${handle}`} onClick={() => answer(true)}>
        {privacyText.requests.accept}
      </button>
      <button class="button button--small" aria-label={privacyText.requests.declineFor(name)} data-testid={`request-decline-${handle}`} onClick={() => answer(false)}>
        {privacyText.requests.decline}
      </button>
      <button class="button button--small button--danger" aria-label={privacyText.person.block(name)} data-testid={`request-block-${handle}`} onClick={() => answer(false, true)}>
        {privacyText.requests.block}
      </button>
    </Entry>
  );
}

function dated(ms: number | null): string {
  return ms === null ? "" : ` · ${when(ms, Date.now())}`;
}
