// The screen without a call: contacts, recent calls, and the person chosen.

import { useEffect, useMemo, useState } from "preact/hooks";
import type { Call, Contact, Person } from "../core/model";
import { waitingRequests } from "../core/privacy";
import { matchContacts, handleIn } from "../core/search";
import type { Actions } from "../core/view";
import { pastExposureText, privacyText } from "../privacytext";
import { clock, recentText, text, when } from "../text";
import { ConnectionBanner, type Props } from "./app";
import { AlertIcon, BackIcon, DirectIcon, IncomingIcon, Mark, OutgoingIcon, PhoneIcon, SearchIcon, ShieldIcon, SignOutIcon, SlidersIcon, VideoIcon } from "./icons";
import { Avatar, useFocusOnArrival } from "./parts";
import { Requests } from "./requests";
import { AskButton, canAsk, hindrance, IncomingStanding, useStanding } from "./standing";

type Tab = "contacts" | "recent" | "requests";

export function Home({ state, actions }: Props) {
  const [tab, setTab] = useState<Tab>("contacts");
  const [chosen, setChosen] = useState<Person | null>(null);
  return (
    <main class={chosen ? "home home--chosen" : "home"} data-testid="screen-home">
      <div class="side">
        <Header state={state} actions={actions} />
        <ConnectionBanner state={state} actions={actions} />
        {state.privacy.saved?.calling === false && (
          <p class="banner banner--warn" data-testid="banner-calling-off">
            <AlertIcon />
            <span class="banner__text">{text.home.callingOff}</span>
            <button class="button button--quiet" onClick={() => actions.show("privacy")}>
              {text.home.callingOffButton}
            </button>
          </p>
        )}
        <Tabs tab={tab} onTab={setTab} waiting={waitingRequests(state.privacy)} />
        <p class="sr-only" role="status">
          {waitingRequests(state.privacy) > 0 ? privacyText.requests.badge(waitingRequests(state.privacy)) : ""}
        </p>
        {tab === "contacts" && <Contacts state={state} actions={actions} chosen={chosen} onChoose={setChosen} />}
        {tab === "recent" && <Recents state={state} actions={actions} chosen={chosen} onChoose={setChosen} />}
        {tab === "requests" && (
          <section class="panel panel--padded" role="tabpanel" id="panel-requests" aria-labelledby="tab-requests">
            <Requests state={state} actions={actions} />
          </section>
        )}
      </div>
      <div class="main">
        {chosen ? (
          <PersonPane key={chosen.handle} person={chosen} state={state} actions={actions} onBack={() => setChosen(null)} />
        ) : (
          <Welcome actions={actions} />
        )}
      </div>
    </main>
  );
}

function Header({ state, actions }: Props) {
  const me = state.signIn.type === "in" ? state.signIn.me : null;
  return (
    <header class="header">
      <Mark />
      <div class="header__who">
        <h1 class="header__app">{text.appName}</h1>
        {me && (
          <span class="header__me" data-testid="me">
            {me.name} <span class="muted">@{me.handle}</span>
          </span>
        )}
      </div>
      <button class="iconbutton" aria-label={text.home.privacy} title={text.home.privacy} data-testid="open-privacy" onClick={() => actions.show("privacy")}>
        <ShieldIcon />
      </button>
      <button class="iconbutton" aria-label={text.home.devices} title={text.home.devices} data-testid="open-devices" onClick={() => actions.openDevices()}>
        <SlidersIcon />
      </button>
      <button class="iconbutton" aria-label={text.home.signOut} title={text.home.signOut} data-testid="sign-out" onClick={() => actions.signOut()}>
        <SignOutIcon />
      </button>
    </header>
  );
}

function Tabs({ tab, onTab, waiting }: { tab: Tab; onTab: (tab: Tab) => void; waiting: number }) {
  const tabs: readonly [Tab, string][] = [
    ["contacts", text.home.contacts],
    ["recent", text.home.recent],
    ["requests", privacyText.requests.tab],
  ];
  const move = (event: KeyboardEvent): void => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const at = tabs.findIndex(([id]) => id === tab) + (event.key === "ArrowRight" ? 1 : -1);
    const next = tabs[(at + tabs.length) % tabs.length]?.[0] ?? tab;
    onTab(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={text.appName} onKeyDown={move}>
      {tabs.map(([id, label]) => (
        <button
          key={id}
          id={`tab-${id}`}
          class="tab"
          role="tab"
          aria-selected={tab === id}
          aria-controls={`panel-${id}`}
          tabIndex={tab === id ? 0 : -1}
          data-testid={`tab-${id}`}
          onClick={() => onTab(id)}
        >
          {label}
          {id === "requests" && waiting > 0 && (
            <span class="badge" data-testid="requests-badge">
              <span aria-hidden="true">{waiting}</span>
              <span class="sr-only">{privacyText.requests.badge(waiting)}</span>
            </span>
          )}
        </button>
      ))}
    </div>
  );
}

interface ListProps extends Props {
  readonly chosen: Person | null;
  readonly onChoose: (person: Person) => void;
}

function Contacts({ state, actions, chosen, onChoose }: ListProps) {
  const [query, setQuery] = useState("");
  const shown = useMemo(() => matchContacts(state.contacts ?? [], query), [state.contacts, query]);
  const handle = handleIn(query);
  const stranger = handle && !shown.some((contact) => contact.person.handle === handle) ? handle : null;
  return (
    <section class="panel" role="tabpanel" id="panel-contacts" aria-labelledby="tab-contacts">
      <label class="search">
        <SearchIcon />
        <span class="sr-only">{text.home.search}</span>
        <input class="search__input" type="search" placeholder={text.home.searchHint} value={query} autocomplete="off" spellcheck={false} data-testid="search" onInput={(event) => setQuery(event.currentTarget.value)} />
      </label>
      <p class="sr-only" role="status">
        {query === "" ? "" : text.home.results(shown.length)}
      </p>
      <Loading state={state} actions={actions} loaded={state.contacts !== null} />
      {state.contacts?.length === 0 && query === "" && <Empty title={text.home.noContacts} hint={text.home.noContactsHint} />}
      {query !== "" && shown.length === 0 && !stranger && <Empty title={text.home.noMatch} hint="" />}
      <ul class="rows" data-testid="contacts">
        {shown.map((contact) => (
          <ContactRow key={contact.person.handle} contact={contact} actions={actions} current={chosen?.handle === contact.person.handle} onChoose={onChoose} />
        ))}
        {stranger && <StrangerRow key={stranger} handle={stranger} state={state} actions={actions} onChoose={onChoose} />}
      </ul>
    </section>
  );
}

/** Somebody may still be typing the handle: it is asked about when they have stopped for this long. */
const TYPED_MS = 350;

function StrangerRow({ handle, state, actions, onChoose }: Props & { handle: string; onChoose: (person: Person) => void }) {
  const [typed, setTyped] = useState(false);
  useEffect(() => {
    const timer = window.setTimeout(() => setTyped(true), TYPED_MS);
    return () => window.clearTimeout(timer);
  }, []);
  const standing = useStanding(state, actions, typed ? handle : null);
  const person = standing && "person" in standing ? standing.person : { handle, name: handle };
  const reason = hindrance(standing, `@${handle}`);
  return (
    <li class="row" data-testid="call-handle">
      <button class="row__main" data-testid={`stranger-${handle}`} onClick={() => onChoose(person)}>
        <Avatar person={person} size="s" />
        <span class="row__text">
          <span class="row__name">{person.name === handle ? text.home.callHandle(handle) : person.name}</span>
          <span class="row__more row__more--wrap" role="status" data-testid="stranger-reason">
            {reason ?? (person.name === handle ? "" : `@${handle}`)}
          </span>
        </span>
      </button>
      <CallButtons person={person} actions={actions} />
    </li>
  );
}

function ContactRow({ contact, actions, current, onChoose }: { contact: Contact; actions: Actions; current: boolean; onChoose: (person: Person) => void }) {
  const { person, online } = contact;
  return (
    <li class={current ? "row row--current" : "row"} data-testid={`contact-${person.handle}`} data-online={online}>
      <button class="row__main" aria-current={current} onClick={() => onChoose(person)}>
        <Avatar person={person} size="s" online={online} />
        <span class="row__text">
          <span class="row__name">{person.name}</span>
          <span class="row__more">@{person.handle}</span>
          <span class="sr-only">{online ? text.home.online : text.home.offline}</span>
        </span>
      </button>
      <CallButtons person={person} actions={actions} />
    </li>
  );
}

export function CallButtons({ person, actions }: { person: Person; actions: Pick<Actions, "call"> }) {
  return (
    <span class="row__actions">
      <button class="iconbutton iconbutton--accent" aria-label={text.home.audioCallTo(person.name)} title={text.home.audioCall} data-testid={`audio-${person.handle}`} onClick={() => actions.call(person, false)}>
        <PhoneIcon />
      </button>
      <button class="iconbutton iconbutton--accent" aria-label={text.home.videoCallTo(person.name)} title={text.home.videoCall} data-testid={`video-${person.handle}`} onClick={() => actions.call(person, true)}>
        <VideoIcon />
      </button>
    </span>
  );
}

function Recents({ state, actions, chosen, onChoose }: ListProps) {
  return (
    <section class="panel" role="tabpanel" id="panel-recent" aria-labelledby="tab-recent">
      <Loading state={state} actions={actions} loaded={state.recents !== null} />
      {state.recents?.length === 0 && <Empty title={text.home.noRecents} hint={text.home.noRecentsHint} />}
      <ul class="rows" data-testid="recents">
        {state.recents?.map((call) => (
          <li class={chosen?.handle === call.peer.handle ? "row row--current" : "row"} key={call.id}>
            <button class="row__main" onClick={() => onChoose(call.peer)}>
              <Avatar person={call.peer} size="s" />
              <span class="row__text">
                <span class="row__name">{call.peer.name}</span>
                <RecentLine call={call} />
                <ExposureLine call={call} short />
              </span>
            </button>
            <CallButtons person={call.peer} actions={actions} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function RecentLine({ call }: { call: Call }) {
  const missed = call.role === "callee" && call.acceptedAt === null && call.endReason !== "declined";
  const lasted = call.acceptedAt !== null && call.endedAt !== null ? ` · ${clock(call.endedAt - call.acceptedAt)}` : "";
  return (
    <span class={missed ? "row__more row__more--missed" : "row__more"}>
      {call.role === "caller" ? <OutgoingIcon /> : <IncomingIcon />}
      {recentText(call)}
      {lasted}
      {call.createdAt !== null && ` · ${when(call.createdAt, Date.now())}`}
    </span>
  );
}

/** Whether the other side learned this one's address, as the server has it in its records. */
function ExposureLine({ call, short = false }: { call: Call; short?: boolean }) {
  const words = pastExposureText(call, short);
  if (!words) return null;
  return (
    <span class={call.ownExposure ? "row__seen row__seen--yes" : "row__seen"} data-testid="recent-exposure">
      {call.ownExposure ? <DirectIcon /> : <ShieldIcon />}
      {words}
    </span>
  );
}

function Loading({ state, actions, loaded }: Props & { loaded: boolean }) {
  if (loaded) return null;
  if (state.listsFailed && state.connection.name === "open") {
    return (
      <div class="empty" role="alert">
        <p class="empty__title">{text.home.listsFailed}</p>
        <button class="button" onClick={() => actions.reloadLists()}>
          {text.home.tryAgain}
        </button>
      </div>
    );
  }
  return (
    <p class="empty" role="status">
      <span class="spinner" aria-hidden="true" />
      <span>{state.everConnected ? text.home.loading : text.connection.connecting}</span>
    </p>
  );
}

function Empty({ title, hint }: { title: string; hint: string }) {
  return (
    <div class="empty">
      <p class="empty__title">{title}</p>
      {hint && <p>{hint}</p>}
    </div>
  );
}

function Welcome({ actions }: { actions: Actions }) {
  const [draft, setDraft] = useState("");
  const handle = handleIn(draft);
  return (
    <div class="welcome">
      <h2 class="welcome__title">{text.home.pickTitle}</h2>
      <p class="welcome__lead">{text.home.pickLead}</p>
      <form class="byhandle" onSubmit={(event) => event.preventDefault()}>
        <label class="sr-only" for="handle">
          {text.home.handleLabel}
        </label>
        <span class="byhandle__at" aria-hidden="true">
          @
        </span>
        <input id="handle" class="byhandle__input" autocomplete="off" autocapitalize="none" spellcheck={false} placeholder={text.home.handlePlaceholder} value={draft} onInput={(event) => setDraft(event.currentTarget.value)} />
        <CallButtons person={{ handle: handle ?? "", name: handle ?? text.home.handleLabel }} actions={onlyWith(handle, actions)} />
      </form>
      <div class="cards">
        <section class="card">
          <ShieldIcon />
          <h3 class="card__title">{text.home.privateTitle}</h3>
          <p>{text.home.privateLead}</p>
          <button class="button" onClick={() => actions.show("privacy")}>
            {text.home.privacyButton}
          </button>
        </section>
        <section class="card">
          <SlidersIcon />
          <h3 class="card__title">{text.home.readyTitle}</h3>
          <p>{text.home.readyLead}</p>
          <button class="button" onClick={() => actions.openDevices()}>
            {text.home.readyButton}
          </button>
        </section>
      </div>
    </div>
  );
}

/** Before a handle is entered the call buttons lead into its field. */
function onlyWith(handle: string | null, actions: Actions): Pick<Actions, "call"> {
  return handle ? actions : { call: () => document.getElementById("handle")?.focus() };
}

interface PersonPaneProps extends Props {
  readonly person: Person;
  readonly onBack: () => void;
}

function PersonPane({ person: chosen, state, actions, onBack }: PersonPaneProps) {
  const heading = useFocusOnArrival<HTMLHeadingElement>();
  const standing = useStanding(state, actions, chosen.handle);
  // Of somebody whose handle was typed, the server knows the name.
  const person = standing && "person" in standing ? standing.person : chosen;
  const contact = state.contacts?.find((held) => held.person.handle === person.handle);
  const calls = (state.recents ?? []).filter((call) => call.peer.handle === person.handle);
  const reason = hindrance(standing, person.name);
  const callable = reason === null ? "button button--primary" : "button";
  return (
    <div class="person">
      <button class="iconbutton person__back" aria-label={text.home.back} onClick={onBack}>
        <BackIcon />
      </button>
      <Avatar person={person} size="l" online={contact?.online} />
      <h2 class="person__name" tabIndex={-1} ref={heading}>
        {person.name}
      </h2>
      <p class="muted">
        @{person.handle}
        {contact && ` · ${contact.online ? text.home.online : text.home.offline}`}
      </p>
      <p class="person__reason" role="status" data-testid="standing">
        {reason ?? (standing ? "" : privacyText.person.checking)}
      </p>
      <div class="person__actions">
        {canAsk(standing) && <AskButton person={person} actions={actions} />}
        <button class={callable} data-testid="person-audio" onClick={() => actions.call(person, false)}>
          <PhoneIcon />
          {text.home.audioCall}
        </button>
        <button class={callable} data-testid="person-video" onClick={() => actions.call(person, true)}>
          <VideoIcon />
          {text.home.videoCall}
        </button>
      </div>
      <IncomingStanding person={person} standing={standing} actions={actions} />
      {calls.length > 0 && (
        <section class="history">
          <h3 class="history__title">{text.home.withPerson(person.name)}</h3>
          <ul class="rows">
            {calls.map((call) => (
              <li class="history__row" key={call.id}>
                <RecentLine call={call} />
                <ExposureLine call={call} />
              </li>
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}

