//! What a shard counts. Plain numbers: the shell publishes them once a second.

use duocast_media::Refused;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a packet went no further. Each is counted; [`DropReason::is_intended`] says which are no fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// All, in the order of [`Counters::dropped`].
            pub const ALL: &'static [DropReason] = &[$(Self::$name,)*];

            /// Stable lower-case name, for metrics.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// Neither the source address nor anything inside names a leg.
    UnknownSource = "unknown_source",
    /// A STUN check for a user name that no leg has.
    UnknownUser = "unknown_user",
    /// Not STUN, DTLS, RTP or RTCP, or broken.
    Malformed = "malformed",
    /// Longer than [`MAX_DATAGRAM_BYTES`](crate::MAX_DATAGRAM_BYTES).
    Oversized = "oversized",
    /// STUN integrity or SRTP authentication failed, or a repetition.
    NotAuthenticated = "not_authenticated",
    /// The leg has brought in as many SSRCs as it may.
    TooManySources = "too_many_sources",
    /// The plan routes this leg to nobody: before the answer, this is every packet.
    NotRouted = "not_routed",
    /// The viewer did not negotiate this codec.
    NoCommonCodec = "no_common_codec",
    /// The viewer has no track of this kind that receives.
    NoTrack = "no_track",
    /// The viewer's leg is not connected.
    ViewerAbsent = "viewer_absent",
    /// Older than the first packet that was forwarded of this source.
    TooLate = "too_late",
    /// No payload: a probe for bandwidth, meant for this hop only.
    Padding = "padding",
    /// For a leg that has ended.
    LegClosed = "leg_closed",
    /// Of a layer that the viewer is not sent, since it gets another one or nothing.
    LayerNotChosen = "layer_not_chosen",
    /// A bare STUN request from an IP address from which no leg authenticated.
    BareStranger = "bare_stranger",
    /// One bare STUN request more than an IP address may make.
    BareTooMany = "bare_too_many",
    /// From an address that has not authenticated, and its network has caused as much work this second as it may.
    PrefixTooMany = "prefix_too_many",
}

impl From<Refused> for DropReason {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed => Self::Malformed,
            Refused::NotAuthenticated => Self::NotAuthenticated,
            Refused::TooManySources => Self::TooManySources,
        }
    }
}

impl DropReason {
    /// True if dropping is what the design wants.
    pub const fn is_intended(self) -> bool {
        matches!(
            self,
            Self::NotRouted | Self::Padding | Self::LegClosed | Self::ViewerAbsent | Self::LayerNotChosen
        )
    }
}

/// Totals of one shard since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams that came in.
    pub packets_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams to send.
    pub packets_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Audio packets written to a viewer.
    pub audio_forwarded: u64,
    /// Video packets written to a viewer.
    pub video_forwarded: u64,
    /// Audio packets that were lost on the way here and taken out of redundant ones that came after them.
    pub audio_recovered: u64,
    /// Dropped packets, by [`DropReason`] in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Keyframe requests that were sent to publishers.
    pub keyframes_requested: u64,
    /// Keyframe requests of viewers that were answered by one already asked for.
    pub keyframes_merged: u64,
    /// How often a leg's estimate of its path changed so much that it matters.
    pub estimates_changed: u64,
    /// How often what waited for a viewer's path was given up, and its picture begun anew.
    pub pictures_given_up: u64,
    /// Plans carried out.
    pub plans_applied: u64,
    /// Plans that were not newer than what the shard had, or that it had no room for.
    pub plans_refused: u64,
    /// Offers answered.
    pub offers_accepted: u64,
    /// Offers refused.
    pub offers_refused: u64,
    /// Bare STUN requests that were answered.
    pub bare_answered: u64,
    /// Legs whose media moved to another address of the client.
    pub legs_moved: u64,
    /// Panics that ended one call.
    pub panics: u64,
}

impl Counters {
    /// Packets dropped for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    pub(crate) fn drop_packet(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }
}

/// Totals of one leg since its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegCounters {
    /// Datagrams that came from the client.
    pub packets_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams to the client.
    pub packets_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Media packets that were authenticated.
    pub media_received: u64,
    /// Media packets written for the client.
    pub media_written: u64,
    /// How often media moved to another address of the client.
    pub moves: u64,
}
