//! One picture on two paths: which of the frames that come are newer than what was shown.
//!
//! While both paths are used they carry the same encoded frames, with RTP times that differ by an amount that stays as long as the
//! legs do. A frame that came on both tells that amount. Where a sender encodes for each path by itself there are no equal
//! frames, and nothing can be compared.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Path, ReceivedRtp, VIDEO_CLOCK_HZ};

/// Frames of each path that are remembered to find equal ones: 2 s at 30 a second. Higher finds them on paths whose delays
/// differ more.
const REMEMBERED: usize = 64;

/// Frames that all seem older than the last one by more than this (in RTP time) show that the amount is another now, as when the
/// other party's leg was replaced. Higher freezes the picture for longer then, lower lets paths differ less.
const OLDER_MAX: u32 = VIDEO_CLOCK_HZ / 2;

/// How many such frames in a row it takes: a path that rested first brings what it still held from before. Higher freezes the
/// picture for longer.
const OLDER_FRAMES: u32 = 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The last packets of frames, by hash of their payload, with their RTP time; [`Path::Routed`] first.
    seen: [VecDeque<(u64, u32)>; 2],
    /// What is added to a direct frame's RTP time to get the routed one's.
    shift: Option<u32>,
    shown: Option<(Path, u32)>,
    /// Frames in a row that seemed far too old.
    older: u32,
}

impl Order {
    /// A packet came. Only while there are two paths; what one alone brings has its own order.
    pub(crate) fn handle_packet(&mut self, path: Path, packet: &ReceivedRtp) {
        if !packet.marker {
            return;
        }
        let mut hasher = DefaultHasher::new();
        packet.payload.hash(&mut hasher);
        let hash = hasher.finish();
        let equal = self.seen[path.other() as usize].iter().rev().find(|(other, _)| *other == hash);
        if let Some((_, other)) = equal {
            self.shift = Some(match path {
                Path::Direct => other.wrapping_sub(packet.rtp_time),
                Path::Routed => packet.rtp_time.wrapping_sub(*other),
            });
        }
        let seen = &mut self.seen[path as usize];
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back((hash, packet.rtp_time));
    }

    /// Whether a frame of this path with this RTP time may be shown now; if so, it is the last one shown.
    pub(crate) fn shows(&mut self, path: Path, rtp_time: u32) -> bool {
        let age =
            self.shown.and_then(|(last, at)| Some(at.wrapping_sub(self.time_on(last, path, rtp_time)?)));
        if age.is_some_and(|age| age < u32::MAX / 2) {
            self.older = if age > Some(OLDER_MAX) { self.older + 1 } else { 0 };
            if self.older < OLDER_FRAMES {
                return false;
            }
            self.shift = None;
        }
        (self.older, self.shown) = (0, Some((path, rtp_time)));
        true
    }

    /// The leg that carried this path is gone.
    pub(crate) fn start_over(&mut self, path: Path) {
        if let Some((last, at)) = self.shown.filter(|(last, _)| *last == path) {
            // What the other path brings of the same moments is still not to be shown again.
            self.shown = self.time_on(last.other(), last, at).map(|at| (last.other(), at));
        }
        self.seen[path as usize].clear();
        self.shift = None;
    }

    /// What the RTP time of a frame of `path` is on `other`, if that is known.
    fn time_on(&self, other: Path, path: Path, rtp_time: u32) -> Option<u32> {
        match (path, other) {
            (Path::Direct, Path::Routed) => Some(rtp_time.wrapping_add(self.shift?)),
            (Path::Routed, Path::Direct) => Some(rtp_time.wrapping_sub(self.shift?)),
            _ => Some(rtp_time),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use str0m::format::Codec;

    use super::*;

    /// Routed RTP times are this much ahead.
    const AHEAD: u32 = u32::MAX - 4000;

    fn frame(path: Path, number: u32) -> ReceivedRtp {
        let shift = if path == Path::Routed { AHEAD } else { 0 };
        ReceivedRtp {
            sequence: number.into(),
            rtp_time: time(number).wrapping_add(shift),
            marker: true,
            codec: Codec::Vp8,
            payload: number.to_be_bytes().as_slice().into(),
            arrived: Instant::now(),
        }
    }

    fn time(number: u32) -> u32 {
        number * 3000
    }

    fn shows(order: &mut Order, path: Path, number: u32) -> bool {
        let packet = frame(path, number);
        order.handle_packet(path, &packet);
        order.shows(path, packet.rtp_time)
    }

    #[test]
    fn a_frame_that_came_on_both_paths_is_shown_once_and_an_older_one_never() {
        let mut order = Order::default();
        for number in 0..10 {
            assert!(shows(&mut order, Path::Routed, number));
        }
        for number in 6..10 {
            assert!(!shows(&mut order, Path::Direct, number), "{number} was shown");
        }
        assert!(shows(&mut order, Path::Direct, 10));
        // 11 was lost here; 12 comes here first, and then 11 on the other path.
        assert!(shows(&mut order, Path::Direct, 12));
        assert!(!shows(&mut order, Path::Routed, 11));
        assert!(!shows(&mut order, Path::Routed, 12));
        assert!(shows(&mut order, Path::Routed, 13));
    }

    #[test]
    fn where_nothing_is_equal_everything_is_shown() {
        let mut order = Order::default();
        for number in 100..110 {
            assert!(shows(&mut order, Path::Routed, number));
        }
        for number in 0..10 {
            assert!(shows(&mut order, Path::Direct, number));
        }
    }

    #[test]
    fn times_that_are_another_now_freeze_nothing() {
        let mut order = Order::default();
        assert!(shows(&mut order, Path::Routed, 100) && !shows(&mut order, Path::Direct, 100));
        assert!(shows(&mut order, Path::Direct, 101));
        let frozen = (102..130).take_while(|number| {
            let old = frame(Path::Routed, *number).rtp_time.wrapping_sub(OLDER_MAX * 4);
            !order.shows(Path::Routed, old)
        });
        assert_eq!(frozen.count(), 9);
    }

    #[test]
    fn what_a_path_held_while_it_rested_is_not_shown() {
        let mut order = Order::default();
        assert!(shows(&mut order, Path::Routed, 1) && !shows(&mut order, Path::Direct, 1));
        for number in 2..100 {
            assert!(shows(&mut order, Path::Direct, number));
        }
        for number in 2..6 {
            assert!(!shows(&mut order, Path::Routed, number), "{number} is from long ago");
        }
        assert!(shows(&mut order, Path::Routed, 100));
    }

    #[test]
    fn when_a_leg_goes_what_it_showed_is_not_shown_again_and_a_new_one_begins_anew() {
        let mut order = Order::default();
        assert!(shows(&mut order, Path::Routed, 50) && !shows(&mut order, Path::Direct, 50));
        assert!(shows(&mut order, Path::Direct, 51) && shows(&mut order, Path::Direct, 52));
        order.start_over(Path::Direct);
        assert!(!shows(&mut order, Path::Routed, 51) && !shows(&mut order, Path::Routed, 52));
        assert!(shows(&mut order, Path::Routed, 53) && shows(&mut order, Path::Direct, 3));
    }
}
