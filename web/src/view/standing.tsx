// Whether somebody can be called, and what to do if not; and how not to be called by them any more.

import { useEffect, useState } from "preact/hooks";
import type { Failure, Person } from "../core/model";
import type { Standing } from "../core/privacy";
import type { Actions, ViewState } from "../core/view";
import { privacyText, reasonText } from "../privacytext";
import { explain } from "../text";

/** The answer to "can I call them?", asked for when it is not known. Undefined while it is on its way. */
export function useStanding(state: ViewState, actions: Actions, handle: string | null): Standing | Failure | undefined {
  const known = handle === null ? undefined : state.privacy.standings[handle];
  const open = state.connection.name === "open";
  useEffect(() => {
    if (handle !== null && known === undefined && open) actions.privacy.ask(handle);
  }, [handle, known === undefined, open]);
  return known;
}

/** What stands in the way of a call to this person, in one sentence; null where nothing does or it is not known. */
export function hindrance(standing: Standing | Failure | undefined, name: string): string | null {
  if (!standing) return null;
  if ("kind" in standing) return standing.kind === "refused" ? explain(standing, name).title : null;
  return standing.outgoing.outcome === "allow" ? null : reasonText(standing.outgoing);
}

/** True if the only way is to ask, and this was not done yet. */
export function canAsk(standing: Standing | Failure | undefined): boolean {
  return !!standing && "outgoing" in standing && standing.outgoing.outcome === "request" && standing.outgoing.reason === "REQUEST_NEEDED";
}

export function AskButton({ person, actions }: { person: Person; actions: Actions }) {
  return (
    <button class="button button--primary" data-testid="ask-permission" onClick={() => actions.privacy.sendRequest(person.handle)}>
      {privacyText.person.ask}
    </button>
  );
}

/** Asks once more before it blocks; `inCall` says that the call ends with it. */
export function BlockButton({ person, actions, inCall = false }: { person: Person; actions: Actions; inCall?: boolean }) {
  const [asking, setAsking] = useState(false);
  if (!asking) {
    return (
      <button class="button button--quiet" data-testid="block" onClick={() => setAsking(true)}>
        {inCall ? privacyText.person.blockAndEnd(person.name) : privacyText.person.block(person.name)}
      </button>
    );
  }
  return (
    <div class="confirm" role="group" aria-label={privacyText.person.block(person.name)}>
      <p role="status">{privacyText.person.blockSure(person.name)}</p>
      <div class="confirm__actions">
        <button
          class="button button--small button--danger"
          data-testid="block-now"
          onClick={() => {
            actions.privacy.block(person.handle);
            setAsking(false);
          }}
        >
          {privacyText.person.blockNow}
        </button>
        <button class="button button--small" data-testid="block-cancel" onClick={() => setAsking(false)}>
          {privacyText.person.cancel}
        </button>
      </div>
    </div>
  );
}

/** For somebody's own page: may they call this account, and how that can be changed. */
export function IncomingStanding({ person, standing, actions }: { person: Person; standing: Standing | Failure | undefined; actions: Actions }) {
  if (!standing || !("incoming" in standing)) return null;
  const blocked = standing.incoming.reason === "BLOCKED_BY_CALLEE" || standing.outgoing.reason === "BLOCKED_BY_CALLER";
  return (
    <section class="history" data-testid="incoming-standing">
      <h3 class="history__title">{privacyText.person.incoming}</h3>
      <p>{reasonText(standing.incoming)}</p>
      <div class="confirm__actions">
        {standing.incoming.outcome === "request" && (
          <button class="button button--small" data-testid="grant" onClick={() => actions.privacy.grant(person.handle, 30)}>
            {privacyText.person.allow}
          </button>
        )}
        {standing.incoming.reason === "GRANT" && (
          <button class="button button--small" data-testid="revoke" onClick={() => actions.privacy.revoke(person.handle)}>
            {privacyText.people.revoke}
          </button>
        )}
        {blocked ? (
          <button class="button button--small" data-testid="unblock" onClick={() => actions.privacy.unblock(person.handle)}>
            {privacyText.person.unblock}
          </button>
        ) : (
          <BlockButton person={person} actions={actions} />
        )}
      </div>
    </section>
  );
}
