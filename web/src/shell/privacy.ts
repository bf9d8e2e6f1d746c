// Settings, permissions, blocks and call requests: asks the server, keeps what it said, tells the screens.

import { stepPrivacy, NO_PRIVACY, type CallRequest, type PrivacyEvent, type PrivacySettings, type PrivacyState, type SettingsChange } from "../core/privacy";
import type { PrivacyActions } from "../core/view";
import type { PrivacyApi } from "./privacyapi";
import { failureOf } from "./rpc";

/** A preview is asked for when the person has stopped changing things for this long. */
const PREVIEW_AFTER_MS = 200;

export class Privacy implements PrivacyActions {
  #state: PrivacyState = NO_PRIVACY;
  #previewTimer = 0;
  /** Grows with each sign-in and sign-out: answers to an older one's questions are not heard. */
  #epoch = 0;

  constructor(
    readonly api: PrivacyApi,
    readonly onChange: () => void,
  ) {}

  get state(): PrivacyState {
    return this.#state;
  }

  clear(): void {
    this.#epoch += 1;
    window.clearTimeout(this.#previewTimer);
    this.#step({ type: "clear" });
  }

  /** Something may have been missed: asks for all of it that is shown outside the settings page. */
  resync(): void {
    void this.#ask(async () => {
      const answer = await this.api.settings();
      return answer && { type: "settings", ...answer };
    });
    void this.#ask(async () => ({ type: "requests", ...(await this.api.requests()) }));
    this.#forgetStandings();
    if (this.#state.lists) this.refresh();
  }

  heardSettings(settings: PrivacySettings): void {
    this.#step({ type: "settings", settings, decided: true });
    this.#forgetStandings();
    if (this.#state.lists) this.refresh();
    this.#previewLater();
  }

  heardRequest(request: CallRequest): void {
    this.#step({ type: "request", request });
    this.#forgetStandings();
    if (this.#state.lists) this.refresh();
  }

  // What the person does --------------------------------------------------------------------------------------------

  refresh(): void {
    void this.#ask(async () => ({ type: "lists", lists: await this.api.lists() }));
  }

  decide(calling: boolean): void {
    void this.#save({ calling });
  }

  edit(change: SettingsChange): void {
    this.#step({ type: "edit", change });
    this.#previewLater();
  }

  discard(): void {
    this.#step({ type: "discard" });
  }

  save(): void {
    if (!this.#state.saving) void this.#save(this.#state.draft);
  }

  ask(handle: string): void {
    const epoch = this.#epoch;
    void this.api.canCall(handle).then(
      (standing) => epoch === this.#epoch && this.#step({ type: "standing", handle, standing }),
      (error: unknown) => epoch === this.#epoch && this.#step({ type: "standing", handle, standing: failureOf(error) }),
    );
  }

  sendRequest(handle: string): void {
    void this.#ask(async () => {
      const request = await this.api.sendRequest(handle);
      return request && { type: "request", request };
    });
  }

  answerRequest(handle: string, answer: { accept: boolean; grantDays?: number; block?: boolean }): void {
    this.#change(handle, this.api.answerRequest(handle, answer));
  }

  grant(handle: string, days: number): void {
    this.#change(handle, this.api.grant(handle, days));
  }

  revoke(handle: string): void {
    this.#change(handle, this.api.revoke(handle));
  }

  block(handle: string): void {
    this.#change(handle, this.api.block(handle));
  }

  unblock(handle: string): void {
    this.#change(handle, this.api.unblock(handle));
  }

  // How ---------------------------------------------------------------------------------------------------------------

  #change(handle: string, done: Promise<void>): void {
    void this.#ask(async () => {
      await done;
      this.refresh();
      this.#forgetStandings();
      this.ask(handle);
      return { type: "requests", ...(await this.api.requests()) };
    });
  }

  async #save(change: SettingsChange): Promise<void> {
    this.#step({ type: "saving" });
    await this.#ask(async () => {
      const settings = await this.api.update(change);
      return settings && { type: "settings", settings, decided: true };
    });
    if (this.#state.lists) this.refresh();
  }

  #previewLater(): void {
    window.clearTimeout(this.#previewTimer);
    const { draft } = this.#state;
    if (Object.keys(draft).length === 0) return;
    this.#previewTimer = window.setTimeout(() => {
      void this.#ask(async () => ({ type: "previewed", draft, preview: await this.api.preview(draft) }));
    }, PREVIEW_AFTER_MS);
  }

  /** Those on the screen are asked for again by the screen. */
  #forgetStandings(): void {
    this.#step({ type: "forget_standings" });
  }

  async #ask(question: () => Promise<PrivacyEvent | null>): Promise<void> {
    const epoch = this.#epoch;
    let event: PrivacyEvent | null;
    try {
      event = await question();
    } catch (error) {
      event = { type: "failed", failure: failureOf(error) };
    }
    if (event && epoch === this.#epoch) this.#step(event);
  }

  #step(event: PrivacyEvent): void {
    this.#state = stepPrivacy(this.#state, event);
    this.onChange();
  }
}
