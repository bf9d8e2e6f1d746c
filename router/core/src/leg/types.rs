//! What a leg gives out, and what it can be.

use str0m::media::Mid;

use crate::counters::DropReason;
use crate::wire::Source;
use crate::wire::Transmits;
use duocast_media::{Estimate, Packet};

/// What a leg gives out.
#[derive(Default)]
pub(crate) struct LegOutput {
    /// What waits for the shell, of all legs.
    pub(crate) transmits: Transmits,
    /// Authenticated media of one visit.
    pub(crate) media: Vec<Packet>,
    /// What the media of this batch say, decrypted: packets and writes say where in it.
    pub(crate) bytes: Vec<u8>,
    /// One RTCP packet, decrypted.
    pub(crate) report: Vec<u8>,
    /// The client wants a keyframe on this m-line.
    pub(crate) keyframe_requests: Vec<Mid>,
    /// What the client was sent on this m-line does not go on: its path did not carry it.
    pub(crate) given_up: Vec<Mid>,
    /// What the client's path is thought to carry has changed so much that it matters.
    pub(crate) estimate: Option<Estimate>,
    /// Paths and SSRCs that authenticated and may be new.
    pub(crate) proven_addresses: Vec<Source>,
    pub(crate) proven_ssrcs: Vec<u32>,
    /// Something that was dropped here.
    pub(crate) dropped: Vec<DropReason>,
}

impl LegOutput {
    /// Forgets what one visit gave out, but for what waits to be sent and the batch's bytes.
    pub(crate) fn clear(&mut self) {
        self.media.clear();
        self.keyframe_requests.clear();
        self.given_up.clear();
        self.estimate = None;
        self.proven_addresses.clear();
        self.proven_ssrcs.clear();
        self.dropped.clear();
    }
}

/// How far a leg has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Waiting for ICE and DTLS.
    Connecting,
    /// Media can flow.
    Connected,
    /// Nothing authenticated for [`STALL_AFTER`](super::STALL_AFTER).
    Stalled,
    /// The client closed it, or it failed. Final.
    Closed,
}

/// Why an offer cannot be applied to a leg that has a client.
pub(crate) enum Renegotiation {
    /// Same client, same m-lines or more: apply it.
    Continue,
    /// Another certificate: another instance of the client; the leg starts anew.
    Replace,
    /// The m-lines contradict what was negotiated.
    Refuse,
}
