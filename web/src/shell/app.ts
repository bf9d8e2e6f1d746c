// The client, put together: events from the server, the person and the devices go into the cores, what follows from
// the cores' state is carried out, and the screens are drawn anew.

import { currentCall, incomingCall, legNeed, ringtone, stepCalls, NO_CALLS, type CallEffect, type CallEvent, type CallsState } from "../core/call";
import { mustRepeatNo, wishAfter, type DirectWish } from "../core/directview";
import { isAnswered, type Call, type Contact, type Failure, type Person } from "../core/model";
import type { Signal } from "../core/direct";
import type { Cursor } from "../core/session";
import { readToken, tokenFromPaste, type TokenFacts } from "../core/token";
import type { Actions, Notice, SignIn, ViewState } from "../core/view";
import { alertTitle, notificationText } from "../text";
import { Api } from "./api";
import { Attention } from "./attention";
import { listDevices, NO_DEVICES, type DeviceLists } from "./capture";
import { Media } from "./media";
import { Privacy } from "./privacy";
import { PrivacyApi } from "./privacyapi";
import { failureOf, transportTo } from "./rpc";
import { Signalling } from "./signalling";
import { Sound } from "./sound";
import * as store from "./store";

/** Messages on the screen at once; the oldest goes first. */
const NOTICES_MAX = 3;

export class App implements Actions {
  readonly media: Media;
  readonly privacy: Privacy;
  readonly #api: Api;
  readonly #sound = new Sound();
  readonly #attention = new Attention();
  readonly #draw: (state: ViewState) => void;
  #signalling: Signalling | null = null;
  #token = "";
  #facts: TokenFacts | null = null;
  #signIn: SignIn = { type: "none" };
  #calls: CallsState = NO_CALLS;
  #contacts: readonly Contact[] | null = null;
  /** What was heard of contacts, for each list of them that is being loaded. */
  readonly #contactNews = new Set<Contact[]>();
  #recents: readonly Call[] | null = null;
  #listsFailed: Failure | null = null;
  #everConnected = false;
  #notices: readonly Notice[] = [];
  #noticeId = 0;
  #page: ViewState["page"] = "home";
  #dialog: "devices" | null = null;
  #directWish: DirectWish | null = null;
  #directFailure: Failure | null = null;
  #testingCam = false;
  #devices: DeviceLists = NO_DEVICES;
  /** The microphone that was open when the devices were listed. */
  #listedWith: MediaStreamTrack | null = null;
  #settings = store.loadSettings();
  #serverAheadMs = 0;
  #settling = false;
  #self: { track: MediaStreamTrack; stream: MediaStream } | null = null;
  #resuming = false;
  /** The newest snapshot whose wish for a leg was heard: each is heard once, whichever way it came first. */
  #heard = { callId: "", revision: -1 };

  constructor(draw: (state: ViewState) => void) {
    this.#draw = draw;
    const transport = transportTo(location.origin, () => this.#token);
    this.#api = new Api(transport);
    this.privacy = new Privacy(new PrivacyApi(transport), () => this.#changed());
    this.media = new Media(this.#api, () => this.#signalling?.sessionId ?? "", () => this.#changed());
    this.#sound.useSpeaker(this.#settings.speakerId);
    this.#watchPage();
  }

  /** Signs in with the token of this tab, if it has one, and draws the first screen. */
  start(token: string | null): void {
    const facts = token ? readToken(token) : null;
    if (token && facts) this.#begin(token, facts);
    else if (token) this.#signIn = { type: "rejected" };
    void this.#refreshDevices();
    this.#changed();
  }

  // What the person does --------------------------------------------------------------------------------------------

  signIn(text: string): boolean {
    const token = tokenFromPaste(text);
    const facts = token ? readToken(token) : null;
    if (!token || !facts) return false;
    store.forgetSignIn();
    store.saveToken(token);
    this.#begin(token, facts);
    return true;
  }

  signOut(): void {
    this.#end({ type: "none" });
    store.forgetSignIn();
  }

  call(person: Person, video: boolean): void {
    this.#engage();
    this.#step({ type: "place", requestId: crypto.randomUUID(), peer: person, video });
  }

  accept(callId: string, video: boolean): void {
    this.media.acceptClicked(callId);
    this.#engage();
    this.#step({ type: "accept", callId, video });
  }

  leave(callId: string | null): void {
    this.#step({ type: "leave", callId, now: Date.now() + this.#serverAheadMs });
  }

  toggleMic(): void {
    const on = this.#calls.want.mic && this.media.capture.state("mic") === "on";
    if (!on) this.media.capture.retry("mic");
    this.#step({ type: "set_mic", on: !on });
  }

  toggleCam(): void {
    const on = this.#calls.want.cam && this.media.capture.state("cam") === "on";
    if (!on) this.media.capture.retry("cam");
    this.#step({ type: "set_cam", on: !on });
  }

  wishDirect(callId: string, yes: boolean): void {
    // Back to the router needs nobody's answer, so it does not wait for one.
    if (!yes) this.media.goPrivate();
    const asked = yes && currentCall(this.#calls)?.direct?.own === "given";
    this.#directWish = { callId, yes, hushed: !yes };
    this.#directFailure = null;
    // A yes that stands already would be no question to the other side: it is taken back first.
    void (asked ? this.#setDirect(callId, false) : Promise.resolve()).then(() => {
      if (this.#directWish?.yes === yes) void this.#setDirect(callId, yes);
    });
    this.#changed();
  }

  show(page: ViewState["page"]): void {
    this.#page = page;
    if (page === "privacy") this.privacy.refresh();
    this.#changed();
  }

  dismissEnded(): void {
    this.#step({ type: "dismiss_ended" });
  }

  dismissNotice(id: number): void {
    this.#notices = this.#notices.filter((notice) => notice.id !== id);
    this.#changed();
  }

  openDevices(): void {
    this.#sound.unlock();
    this.#retryDevices();
    this.#dialog = "devices";
    this.#changed();
  }

  closeDevices(): void {
    this.#dialog = null;
    this.#testingCam = false;
    this.#changed();
  }

  testCam(on: boolean): void {
    if (on) this.media.capture.retry("cam");
    this.#testingCam = on;
    this.#changed();
  }

  change(settings: Partial<store.Settings>): void {
    this.#settings = { ...this.#settings, ...settings };
    store.saveSettings(this.#settings);
    this.#sound.useSpeaker(this.#settings.speakerId);
    this.#changed();
  }

  playTestSound(): void {
    this.#sound.chime();
  }

  playSound(): void {
    this.#sound.unlock();
    this.media.unblockSound();
  }

  allowNotifications(): void {
    void this.#attention.ask().then(() => this.#changed());
  }

  reconnect(): void {
    this.#signalling?.handle({ type: "start" });
    this.#signalling?.handle({ type: "nudge" });
  }

  reloadLists(): void {
    void this.#loadLists();
  }

  watchLevel(onLevel: (level: number) => void): () => void {
    const track = this.media.capture.track("mic");
    return track ? this.#sound.meter(track, onLevel) : () => undefined;
  }

  // What the server says --------------------------------------------------------------------------------------------

  #begin(token: string, facts: TokenFacts): void {
    this.#end({ type: "in", me: { handle: facts.handle, name: facts.name } });
    this.#token = token;
    this.#facts = facts;
    const { cursor, calls } = store.loadResume();
    this.#resuming = cursor.sessionId !== "";
    const signalling = new Signalling(
      this.#api,
      store.deviceId(),
      {
        onSnapshot: (snapshot, replace) => this.#snapshot(calls, snapshot, replace),
        onCall: (call) => this.#applyCall(call),
        onContact: (contact) => this.#applyContact(contact),
        onSignal: (signal) => this.#applySignal(signal),
        onRequest: (request) => this.privacy.heardRequest(request),
        onSettings: (settings) => this.privacy.heardSettings(settings),
        onResync: () => this.#resync(),
        onServerClock: (aheadMs) => (this.#serverAheadMs = aheadMs),
        onSave: (saved) => this.#save(saved),
        onPhase: () => this.#phaseChanged(),
      },
      cursor,
    );
    this.#signalling = signalling;
    signalling.handle({ type: "start" });
    this.#changed();
  }

  #end(signIn: SignIn): void {
    const signalling = this.#signalling;
    this.#signalling = null;
    signalling?.handle({ type: "stop", why: "signed_out" });
    this.#signIn = signIn;
    this.#token = "";
    this.#contacts = this.#recents = null;
    this.#page = "home";
    this.privacy.clear();
    this.#everConnected = false;
    this.#notices = [];
    this.#step({ type: "clear" });
  }

  /** The first snapshot after a reload adds to what was held before it; `replace` says that nothing else is true. */
  #snapshot(beforeReload: readonly Call[], snapshot: readonly Call[], replace: boolean): void {
    if (this.#resuming && !replace) for (const call of beforeReload) this.#applyCall(call);
    this.#resuming = false;
    if (replace) this.#heard = { callId: "", revision: -1 };
    this.#step({ type: "snapshot", calls: snapshot, replace });
    for (const call of snapshot) this.#legWanted(call);
  }

  #applyCall(call: Call): void {
    this.#step({ type: "updated", call });
    this.#legWanted(call);
    if (mustRepeatNo(this.#directWish, call)) void this.#setDirect(call.id, false);
  }

  /** The call that the step belongs to is told to the media first. */
  #applySignal(signal: Signal): void {
    this.#settle();
    this.media.signal(signal);
  }

  #resync(): void {
    void this.#loadLists();
    this.privacy.resync();
  }

  /** Heard only from news of the call that the leg belongs to, after the leg was told of the call. */
  #legWanted(call: Call): void {
    const held = currentCall(this.#calls);
    if (held?.id !== call.id || held.revision !== call.revision) return;
    if (this.#heard.callId === call.id && this.#heard.revision >= call.revision) return;
    this.#heard = { callId: call.id, revision: call.revision };
    this.#settle();
    if (this.media.leg.callId === call.id) this.media.handle({ type: "wanted", wanted: call.legWanted });
  }

  #applyContact(contact: Contact): void {
    for (const news of this.#contactNews) news.push(contact);
    if (!this.#contacts) return;
    this.#contacts = withContact(this.#contacts, contact);
    this.#changed();
  }

  #save(cursor: Cursor): void {
    if (this.#signIn.type === "in") store.saveResume({ cursor, calls: this.#calls.calls });
  }

  #phaseChanged(): void {
    const phase = this.#signalling?.state.phase;
    if (phase?.name === "open") this.#everConnected = true;
    if (phase?.name === "stopped" && phase.why === "signed_out" && this.#signalling) {
      const expiresAt = this.#facts?.expiresAt ?? Infinity;
      store.forgetSignIn();
      this.#end({ type: expiresAt <= Date.now() + this.#serverAheadMs ? "expired" : "rejected" });
    }
    if (phase?.name === "stopped" && phase.why === "taken_over") this.#step({ type: "clear" });
    this.#changed();
  }

  async #loadLists(): Promise<void> {
    const signalling = this.#signalling;
    const news: Contact[] = [];
    this.#contactNews.add(news);
    try {
      const [me, contacts] = await Promise.all([this.#api.getProfile(), this.#api.listContacts()]);
      if (signalling !== this.#signalling) return;
      this.#signIn = { type: "in", me };
      // The list may be older than what was heard while it was on its way.
      this.#contacts = news.reduce(withContact, contacts);
      this.#listsFailed = null;
    } catch (error) {
      if (signalling === this.#signalling) this.#listsFailed = failureOf(error);
    } finally {
      this.#contactNews.delete(news);
    }
    await this.#loadRecents();
  }

  async #loadRecents(): Promise<void> {
    const signalling = this.#signalling;
    try {
      const recents = await this.#api.listCalls();
      if (signalling !== this.#signalling) return;
      this.#recents = recents.filter((call) => call.state === "ended");
    } catch (error) {
      if (signalling === this.#signalling) this.#listsFailed ??= failureOf(error);
    }
    this.#changed();
  }

  // What follows ----------------------------------------------------------------------------------------------------

  #step(event: CallEvent): void {
    const { state, effects } = stepCalls(this.#calls, event);
    this.#calls = state;
    for (const effect of effects) void this.#carryOut(effect);
    this.#changed();
  }

  async #carryOut(effect: CallEffect): Promise<void> {
    const sessionId = this.#signalling?.sessionId ?? "";
    switch (effect.type) {
      case "place":
        return this.#place(sessionId, effect);
      case "accept":
        return this.#accept(sessionId, effect.callId);
      case "decline":
        return this.#quietly(this.#api.declineCall(sessionId, effect.callId));
      case "hang_up":
        return this.#quietly(this.#api.hangUp(sessionId, effect.callId));
      case "report_media":
        return this.#quietly(this.#api.updateMedia(sessionId, effect.callId, effect.media));
      case "refresh_recents":
        return this.#loadRecents();
      case "notice":
        this.#noticeId += 1;
        this.#notices = [...this.#notices, { id: this.#noticeId, about: effect.notice }].slice(-NOTICES_MAX);
        return this.#changed();
    }
  }

  async #place(sessionId: string, { requestId, handle, video }: Extract<CallEffect, { type: "place" }>): Promise<void> {
    try {
      const call = await this.#api.placeCall(sessionId, requestId, handle, video);
      this.#step({ type: "placed", requestId, call });
      this.#legWanted(call);
    } catch (error) {
      this.#step({ type: "place_failed", requestId, failure: failureOf(error) });
    }
  }

  async #accept(sessionId: string, callId: string): Promise<void> {
    try {
      this.#applyCall(await this.#api.acceptCall(sessionId, callId));
    } catch (error) {
      this.#step({ type: "accept_failed", callId, failure: failureOf(error) });
    }
  }

  async #setDirect(callId: string, yes: boolean): Promise<void> {
    try {
      this.#applyCall(await this.#api.setDirect(this.#signalling?.sessionId ?? "", callId, yes));
    } catch (error) {
      if (this.#directWish?.callId !== callId || this.#directWish.yes !== yes || !yes) return;
      this.#directWish = null;
      this.#directFailure = failureOf(error);
      this.#changed();
    }
  }

  /** For commands whose failure shows by itself: the call's own state goes on telling the truth. */
  async #quietly(command: Promise<Call>): Promise<void> {
    try {
      this.#applyCall(await command);
    } catch {
      // The next snapshot repeats what was not heard.
    }
  }

  #changed(): void {
    if (this.#settling) return;
    this.#settling = true;
    queueMicrotask(() => {
      this.#settling = false;
      this.#settle();
      this.#draw(this.view());
    });
  }

  #settle(): void {
    const { micId, camId, speakerId } = this.#settings;
    const { mic, cam } = this.#calls.want;
    const testMic = this.#dialog === "devices";
    const need = legNeed(this.#calls);
    const held = currentCall(this.#calls);
    const call = need?.live ? held : null;
    this.#directWish = wishAfter(this.#directWish, held);
    if (!call) this.#directFailure = null;
    this.media.want({ need, call, mic, cam, testMic, testCam: this.#testingCam, micId, camId, speakerId });
    const track = this.media.capture.track("mic");
    // Browsers name microphones only once one was opened.
    if (track && track !== this.#listedWith) void this.#refreshDevices();
    this.#listedWith = track;
    const sending = this.media.sending();
    const told = this.#calls.sending;
    if (sending?.audio !== told?.audio || sending?.video !== told?.video) this.#step({ type: "sending", media: sending });
    this.#sound.ring(ringtone(this.#calls));
    const incoming = ringtone(this.#calls) === "incoming" ? incomingCall(this.#calls) : null;
    this.#attention.show(incoming && { title: alertTitle(incoming), body: notificationText(incoming), key: incoming.id });
    const current = currentCall(this.#calls);
    this.#attention.keepAwake(current !== null && isAnswered(current));
  }

  /** A click that starts a call: it may sound from now on, and old messages must not lie over its controls. */
  #engage(): void {
    this.#sound.unlock();
    this.#retryDevices();
    this.#notices = [];
  }

  #retryDevices(): void {
    this.media.capture.retry("mic");
    this.media.capture.retry("cam");
  }

  async #refreshDevices(): Promise<void> {
    const now = await listDevices();
    const before = this.#devices;
    this.#devices = now;
    this.media.capture.plugged("mic", before.mics, now.mics);
    this.media.capture.plugged("cam", before.cams, now.cams);
    this.#changed();
  }

  #watchPage(): void {
    const networkChanged = (): void => {
      this.#signalling?.handle({ type: "network_changed" });
      this.media.handle({ type: "network_changed" });
    };
    window.addEventListener("online", networkChanged);
    window.addEventListener("pageshow", () => this.#signalling?.handle({ type: "nudge" }));
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#signalling?.handle({ type: "nudge" });
    });
    navigator.mediaDevices?.addEventListener("devicechange", () => {
      this.#retryDevices();
      void this.#refreshDevices();
    });
  }

  #selfVideo(): MediaStream | null {
    const track = this.media.capture.track("cam");
    if (!track) return (this.#self = null);
    // One stream for one track: a new object at each drawing would restart the picture.
    if (this.#self?.track !== track) {
      this.#self = { track, stream: new MediaStream([track]) };
      void this.#refreshDevices();
    }
    return this.#self.stream;
  }

  view(): ViewState {
    const session = this.#signalling?.state;
    return {
      signIn: this.#signIn,
      connection: session?.phase ?? { name: "idle" },
      everConnected: this.#everConnected,
      failedTries: session?.attempt ?? 0,
      refusal: session?.refusal ?? "",
      contacts: this.#contacts,
      recents: this.#recents,
      listsFailed: this.#listsFailed,
      calls: this.#calls,
      leg: this.media.leg.phase,
      legFailure: this.media.leg.failure,
      mic: this.media.capture.state("mic"),
      cam: this.media.capture.state("cam"),
      substitutes: {
        mic: this.media.capture.substitute("mic", this.#devices.mics),
        cam: this.media.capture.substitute("cam", this.#devices.cams),
      },
      devices: this.#devices,
      settings: this.#settings,
      quality: this.media.quality,
      soundBlocked: this.media.soundBlocked,
      notices: this.#notices,
      page: this.#page,
      dialog: this.#dialog,
      testingCam: this.#testingCam,
      selfVideo: this.#selfVideo(),
      remotePictures: this.media.remotePictures,
      remoteStill: this.media.still,
      privacy: this.privacy.state,
      directWish: this.#directWish,
      directFailure: this.#directFailure,
      serverAheadMs: this.#serverAheadMs,
      notifications: this.#attention.permission,
    };
  }
}

function withContact(contacts: readonly Contact[], contact: Contact): readonly Contact[] {
  const others = contacts.filter((held) => held.person.handle !== contact.person.handle);
  return [...others, contact].sort((a, b) => a.person.name.localeCompare(b.person.name));
}
