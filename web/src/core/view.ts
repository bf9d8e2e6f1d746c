// All that the screens show, and all that they can ask for. The screens are functions of these two.

import type { CallNotice, CallsState } from "./call";
import type { Path } from "./direct";
import type { DirectWish } from "./directview";
import type { LegPhase } from "./leg";
import type { Call, Contact, Failure, Person } from "./model";
import type { PrivacyState, SettingsChange } from "./privacy";
import type { Quality } from "./quality";
import type { Phase } from "./session";
import type { DeviceLists, DeviceState } from "../shell/capture";
import type { Settings } from "../shell/store";

export type SignIn =
  | { readonly type: "none" }
  | { readonly type: "expired" }
  /** The server does not accept the token. */
  | { readonly type: "rejected" }
  | { readonly type: "in"; readonly me: Person };

export interface Notice {
  readonly id: number;
  readonly about: CallNotice;
}

/** The other side's picture on one path. All are drawn on top of each other, so that changing over shows no gap. */
export interface RemotePicture {
  readonly path: Path;
  readonly stream: MediaStream;
  readonly shown: boolean;
  /** To be called for each picture that an element draws. */
  readonly drawn: (element: HTMLVideoElement) => void;
}

export interface ViewState {
  readonly signIn: SignIn;
  readonly connection: Phase;
  /** False until the first session of this page was open: before that a loading screen is honest. */
  readonly everConnected: boolean;
  readonly failedTries: number;
  /** The server's own words for giving this page no session; "" for none. */
  readonly refusal: string;
  readonly contacts: readonly Contact[] | null;
  readonly recents: readonly Call[] | null;
  readonly listsFailed: Failure | null;
  readonly calls: CallsState;
  readonly leg: LegPhase;
  readonly legFailure: Failure | null;
  readonly mic: DeviceState;
  readonly cam: DeviceState;
  /** The device in use instead of a chosen one that is not plugged in. */
  readonly substitutes: { readonly mic: string | null; readonly cam: string | null };
  readonly devices: DeviceLists;
  readonly settings: Settings;
  readonly quality: Quality;
  readonly soundBlocked: boolean;
  readonly notices: readonly Notice[];
  readonly page: "home" | "privacy";
  readonly dialog: "devices" | null;
  readonly testingCam: boolean;
  readonly selfVideo: MediaStream | null;
  readonly remotePictures: readonly RemotePicture[];
  /** To be shown instead, for the moment in which none of them has anything new to show. */
  readonly remoteStill: HTMLCanvasElement | null;
  readonly privacy: PrivacyState;
  readonly directWish: DirectWish | null;
  /** Why the last wish for a direct connection was refused. */
  readonly directFailure: Failure | null;
  /** Milliseconds by which the server's clock is ahead of this one. */
  readonly serverAheadMs: number;
  readonly notifications: NotificationPermission | "unsupported";
}

export interface PrivacyActions {
  /** Answers the first question. */
  decide(calling: boolean): void;
  edit(change: SettingsChange): void;
  discard(): void;
  save(): void;
  /** Loads who can call, permissions and blocks. */
  refresh(): void;
  /** "Can I call them, can they call me?" */
  ask(handle: string): void;
  sendRequest(handle: string): void;
  answerRequest(handle: string, answer: { accept: boolean; grantDays?: number; block?: boolean }): void;
  grant(handle: string, days: number): void;
  revoke(handle: string): void;
  block(handle: string): void;
  unblock(handle: string): void;
}

export interface Actions {
  readonly privacy: PrivacyActions;
  show(page: ViewState["page"]): void;
  /** Says yes or no to a direct connection in this call. */
  wishDirect(callId: string, yes: boolean): void;
  /** False if the text holds no sign-in link or token. */
  signIn(text: string): boolean;
  signOut(): void;
  call(person: Person, video: boolean): void;
  accept(callId: string, video: boolean): void;
  /** Declines, cancels or hangs up; null while the server does not know the call yet. */
  leave(callId: string | null): void;
  toggleMic(): void;
  toggleCam(): void;
  dismissEnded(): void;
  dismissNotice(id: number): void;
  openDevices(): void;
  closeDevices(): void;
  testCam(on: boolean): void;
  change(settings: Partial<Settings>): void;
  playTestSound(): void;
  playSound(): void;
  allowNotifications(): void;
  reconnect(): void;
  reloadLists(): void;
  /** Calls back with the microphone's level, 0 to 1, until the returned function is called. */
  watchLevel(onLevel: (level: number) => void): () => void;
}
