//! One picture on two paths: which of the frames that come are newer than what was shown.
//!
//! While both paths are used they carry the same encoded frames, with RTP times that differ by an amount that stays as long as the
//! legs do. A packet that came on both tells that amount, and until one did, no frame of the second path is shown beside those of
//! the first. Where a sender encodes for each path by itself there are no equal packets, and nothing can be compared.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::{Path, ReceivedRtp, VIDEO_CLOCK_HZ};

/// Packets of each path that are remembered to find equal ones: 1 s of 2 Mbit/s. Higher finds them on paths whose delays differ more.
const REMEMBERED: usize = 256;

/// Both paths bring packets for so long and none of them are equal: the sender encodes for each by itself. Higher leaves the picture
/// on the old path for longer with such a sender, lower shows pictures again where the delays of the paths differ more.
const APART_MIN: Duration = Duration::from_millis(150);

/// Frames that all seem older than the last one by more than this (in RTP time) show that the amount is another now, as when the
/// other party's leg was replaced. Higher freezes the picture for longer then, lower lets paths differ less.
const OLDER_MAX: u32 = VIDEO_CLOCK_HZ / 2;

/// How many such frames in a row it takes: a path that rested first brings what it still held from before. Higher freezes the
/// picture for longer.
const OLDER_FRAMES: u32 = 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The last packets, by hash of their payload, with their RTP time; [`Path::Routed`] first.
    seen: [VecDeque<(u64, u32)>; 2],
    heard_at: [Option<Instant>; 2],
    /// Since when packets come on both.
    both_since: Option<Instant>,
    /// None of them were equal for long enough. Of no meaning once there is a shift.
    are_apart: bool,
    /// What is added to a direct frame's RTP time to get the routed one's.
    shift: Option<u32>,
    shown: Option<(Path, u32)>,
    /// Frames in a row that seemed far too old.
    older: u32,
}

impl Order {
    /// A packet came. Only while there are two paths; what one alone brings has its own order.
    pub(crate) fn handle_packet(&mut self, path: Path, packet: &ReceivedRtp) {
        let now = packet.arrived;
        let comes_on_other = !has_rested(self.heard_at[path.other() as usize], now);
        self.both_since = self.both_since.or(Some(now)).filter(|_| comes_on_other);
        self.heard_at[path as usize] = Some(now);
        self.are_apart |= self.shift.is_none()
            && self.both_since.is_some_and(|since| now.saturating_duration_since(since) >= APART_MIN);
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
    pub(crate) fn shows(&mut self, now: Instant, path: Path, rtp_time: u32) -> bool {
        if let Some((last, at)) = self.shown {
            match self.time_on(last, path, rtp_time).map(|time| at.wrapping_sub(time)) {
                None if !self.are_apart && !has_rested(self.heard_at[last as usize], now) => return false,
                Some(age) if age < u32::MAX / 2 => {
                    self.older = if age > OLDER_MAX { self.older + 1 } else { 0 };
                    if self.older < OLDER_FRAMES {
                        return false;
                    }
                    self.forget_shift();
                }
                _ => {}
            }
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
        self.heard_at[path as usize] = None;
        self.forget_shift();
    }

    fn forget_shift(&mut self) {
        (self.shift, self.both_since, self.are_apart) = (None, None, false);
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

/// A path on which this was the last packet brings none at present.
fn has_rested(heard_at: Option<Instant>, now: Instant) -> bool {
    heard_at.is_none_or(|at| now.saturating_duration_since(at) >= APART_MIN)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

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
            arrived: *BEGAN + Duration::from_millis(33) * number,
        }
    }

    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

    fn time(number: u32) -> u32 {
        number * 3000
    }

    fn shows(order: &mut Order, path: Path, number: u32) -> bool {
        let packet = frame(path, number);
        order.handle_packet(path, &packet);
        order.shows(packet.arrived, path, packet.rtp_time)
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

    /// The second path's first picture is whole while the first one waits for a packet: what it still brings would be shown after
    /// newer ones.
    #[test]
    fn until_a_packet_came_on_both_the_second_path_is_not_shown() {
        let mut order = Order::default();
        assert!(shows(&mut order, Path::Routed, 1) && shows(&mut order, Path::Routed, 2));
        assert!(!shows(&mut order, Path::Direct, 5), "4 may still come");
        assert!(shows(&mut order, Path::Routed, 3) && shows(&mut order, Path::Routed, 4));
        assert!(!shows(&mut order, Path::Direct, 4));
        assert!(shows(&mut order, Path::Direct, 6) && !shows(&mut order, Path::Routed, 5));
    }

    #[test]
    fn a_path_that_brings_nothing_any_more_keeps_the_other_one_waiting_for_a_moment_only() {
        let mut order = Order::default();
        assert!(shows(&mut order, Path::Routed, 1));
        let waiting = (2..30).take_while(|number| !shows(&mut order, Path::Direct, *number));
        assert_eq!(waiting.count(), 4, "150 ms");
    }

    #[test]
    fn a_sender_that_encodes_for_each_path_by_itself_is_shown_on_both() {
        let mut order = Order::default();
        let other = |order: &mut Order, number| {
            let mut packet = frame(Path::Direct, number);
            packet.rtp_time = packet.rtp_time.wrapping_add(123_456);
            packet.payload = [number.to_be_bytes(), [7; 4]].concat().as_slice().into();
            order.handle_packet(Path::Direct, &packet);
            order.shows(packet.arrived, Path::Direct, packet.rtp_time)
        };
        let waiting = (1..30).take_while(|n| shows(&mut order, Path::Routed, *n) && !other(&mut order, *n));
        assert_eq!(waiting.count(), 5, "150 ms");
        for number in 30..40 {
            assert!(other(&mut order, number));
        }
        assert!(shows(&mut order, Path::Routed, 31));
    }

    #[test]
    fn times_that_are_another_now_freeze_nothing() {
        let mut order = Order::default();
        assert!(shows(&mut order, Path::Routed, 100) && !shows(&mut order, Path::Direct, 100));
        assert!(shows(&mut order, Path::Direct, 101));
        let frozen = (102..130).take_while(|number| {
            let frame = frame(Path::Routed, *number);
            !order.shows(frame.arrived, Path::Routed, frame.rtp_time.wrapping_sub(OLDER_MAX * 4))
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
        assert!(shows(&mut order, Path::Routed, 53) && !shows(&mut order, Path::Direct, 3));
        assert!(!shows(&mut order, Path::Direct, 53) && shows(&mut order, Path::Direct, 54));
    }
}
