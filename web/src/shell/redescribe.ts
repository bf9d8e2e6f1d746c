// A connection's own way to change what it sends, where browsers have no setting for it.

import { asAnswer, soundOrdered } from "../core/redundancy";
import { reportingWhenAsked } from "../core/reports";
import { pausedIn } from "../core/sizes";
import type { MediaLines } from "./path";

/** Chromium, which alone has this method, knows of it. Others might keep what they do not understand in what they say, and not report at all. */
const REPORTS_WHEN_ASKED = "setHeaderExtensionsToNegotiate" in RTCRtpTransceiver.prototype;

/** Makes an offer, by which the router may ask for reports, and sets it. */
export async function offerToRouter(connection: RTCPeerConnection, options: RTCOfferOptions = {}): Promise<void> {
  const { type, sdp = "" } = await connection.createOffer(options);
  const asked = REPORTS_WHEN_ASKED ? reportingWhenAsked(sdp, connection.localDescription?.sdp) : sdp;
  try {
    await connection.setLocalDescription({ type, sdp: asked });
  } catch (error) {
    if (asked === sdp) throw error;
    // A browser that lets nobody change its offers reports by itself.
    await connection.setLocalDescription({ type, sdp });
  }
}

/**
 * Sends redundant sound from now on, or plain. Both descriptions are set once more, with another order of the codecs; the other end is not
 * asked and need not know: it takes either. Of a router: whether it asks for lost sound (`soundOrdered`), and the lines whose sizes stay switched off.
 * Not while anything is being offered. Gives whether it is so now.
 */
export async function sendRedundant(connection: RTCPeerConnection, redundant: boolean, router: { repeats: boolean; lines: MediaLines } | null = null): Promise<boolean> {
  const theirs = connection.remoteDescription;
  if (connection.signalingState !== "stable" || !theirs) return false;
  const ordered = soundOrdered(theirs.sdp, redundant, router?.repeats ?? false);
  // It is so already, or one of the two has no redundant sound: then nothing is to be said.
  if (ordered === theirs.sdp || !/ red\/48000/.test(connection.localDescription?.sdp ?? "")) return true;
  await (router ? offerToRouter(connection) : connection.setLocalDescription());
  try {
    await connection.setRemoteDescription({ type: "answer", sdp: pausedIn(asAnswer(ordered), router?.lines.pausedSizes ?? []) });
    return true;
  } catch {
    await connection.setLocalDescription({ type: "rollback" });
    // A browser that will not have it goes on as it is.
    return true;
  }
}
