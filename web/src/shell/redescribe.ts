// A connection's own way to change what it sends, where browsers have no setting for it.

import { asAnswer, soundOrdered } from "../core/redundancy";

/**
 * Sends redundant sound from now on, or plain. Both descriptions are set once more, with another order of the codecs; the other end is not
 * asked and need not know: it takes either. Not while anything is being offered. `repeats`: see `soundOrdered`. Gives whether it is so now.
 */
export async function sendRedundant(connection: RTCPeerConnection, redundant: boolean, repeats: boolean): Promise<boolean> {
  const theirs = connection.remoteDescription;
  if (connection.signalingState !== "stable" || !theirs) return false;
  const ordered = soundOrdered(theirs.sdp, redundant, repeats);
  // It is so already, or one of the two has no redundant sound: then nothing is to be said.
  if (ordered === theirs.sdp || !/ red\/48000/.test(connection.localDescription?.sdp ?? "")) return true;
  const sdp = asAnswer(ordered);
  await connection.setLocalDescription();
  try {
    await connection.setRemoteDescription({ type: "answer", sdp });
    return true;
  } catch {
    await connection.setLocalDescription({ type: "rollback" });
    // A browser that will not have it goes on as it is.
    return true;
  }
}
