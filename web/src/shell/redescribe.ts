// A connection's own way to change what it sends, where browsers have no setting for it.

import { asAnswer, soundOrdered } from "../core/redundancy";
import { pausedIn } from "../core/sizes";
import type { MediaLines } from "./path";

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
  await connection.setLocalDescription();
  try {
    await connection.setRemoteDescription({ type: "answer", sdp: pausedIn(asAnswer(ordered), router?.lines.pausedSizes ?? []) });
    return true;
  } catch {
    await connection.setLocalDescription({ type: "rollback" });
    // A browser that will not have it goes on as it is.
    return true;
  }
}
