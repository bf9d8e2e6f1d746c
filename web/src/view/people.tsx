// Who can ring this account and why, who has permission, who is blocked.

import { privacyText, day, reasonText } from "../privacytext";
import type { Person } from "../core/model";
import type { ComponentChildren } from "preact";
import type { Props } from "./app";
import { Avatar } from "./parts";

export function People({ state, actions }: Props) {
  const { lists, saved } = state.privacy;
  if (!lists) return null;
  const callers = saved?.calling ? lists.callers : [];
  const everyone = saved?.calling && lists.everyone;
  const nobody = everyone ? privacyText.people.everyoneNobody : privacyText.people.nobody;
  return (
    <>
      <section class="setting">
        <h2 class="setting__title">{privacyText.people.callers}</h2>
        <p class="setting__lead" hidden={callers.length > 0 && !everyone}>
          {callers.length > 0 ? privacyText.people.everyone : nobody}
        </p>
        <ul class="entries" data-testid="callers">
          {callers.map(({ person, decision }) => (
            <Entry key={person.handle} person={person} more={reasonText(decision)} />
          ))}
        </ul>
      </section>
      <section class="setting">
        <h2 class="setting__title">{privacyText.people.grants}</h2>
        {lists.grants.length === 0 && <p class="setting__lead">{privacyText.people.noGrants}</p>}
        <ul class="entries" data-testid="grants">
          {lists.grants.map(({ person, expiresAt, fromRequest }) => (
            <Entry key={person.handle} person={person} more={`${privacyText.people.until(day(expiresAt))}${fromRequest ? `, ${privacyText.people.fromRequest}` : ""}`}>
              <button class="button button--small" aria-label={privacyText.people.revokeFor(person.name)} data-testid={`revoke-${person.handle}`} onClick={() => actions.privacy.revoke(person.handle)}>
                {privacyText.people.revoke}
              </button>
            </Entry>
          ))}
        </ul>
      </section>
      <section class="setting">
        <h2 class="setting__title">{privacyText.people.blocks}</h2>
        {lists.blocks.length === 0 && <p class="setting__lead">{privacyText.people.noBlocks}</p>}
        <ul class="entries" data-testid="blocks">
          {lists.blocks.map(({ person, since }) => (
            <Entry key={person.handle} person={person} more={privacyText.people.since(day(since))}>
              <button class="button button--small" aria-label={privacyText.people.unblockFor(person.name)} data-testid={`unblock-${person.handle}`} onClick={() => actions.privacy.unblock(person.handle)}>
                {privacyText.people.unblock}
              </button>
            </Entry>
          ))}
        </ul>
      </section>
    </>
  );
}

export function Entry({ person, more, children }: { person: Person; more: string; children?: ComponentChildren }) {
  return (
    <li class="entry">
      <Avatar person={person} size="s" />
      <span class="entry__text">
        <span class="entry__name">
          {person.name} <span class="muted">@{person.handle}</span>
        </span>
        <span class="entry__more">{more}</span>
      </span>
      {children && <span class="entry__actions">{children}</span>}
    </li>
  );
}
