//! What gives way when a worker cannot keep up: video, so that people still hear each other. Pure.
//!
//! A worker that is slower than what comes in finds its slots full turn after turn, and in the end the kernel drops whatever
//! comes next, sound included. Video is seven in ten of the packets, and audio alone fits in nearly always.

use std::time::{Duration, Instant};

use duocast_router_core::Datagram;

/// How long more must wait in the kernel than a turn can take before video gives way. Higher lets sound wait longer, and in
/// the end be lost, lower takes a machine that stood still for a moment for one that is overloaded.
const BEHIND_MAX: Duration = Duration::from_millis(50);

/// Watches whether a worker keeps up.
#[derive(Debug, Default)]
pub(crate) struct Shed {
    behind_since: Option<Instant>,
    dropped: u64,
}

impl Shed {
    /// A turn at `now` found these datagrams; `is_full`: more wait. Takes the video out of them if that has been so for too
    /// long.
    pub(crate) fn lighten(&mut self, now: Instant, is_full: bool, datagrams: &mut Vec<Datagram<'_>>) {
        if self.is_behind(now, is_full) {
            let before = datagrams.len();
            datagrams.retain(|datagram| !datagram.is_video());
            self.dropped += (before - datagrams.len()) as u64;
        }
    }

    /// A turn at `now` begins, and `is_full`: more waits than it takes. True if that has been so for too long.
    pub(crate) fn is_behind(&mut self, now: Instant, is_full: bool) -> bool {
        let since = *self.behind_since.get_or_insert(now);
        if !is_full {
            self.behind_since = None;
        }
        is_full && now.saturating_duration_since(since) >= BEHIND_MAX
    }

    /// Packets of video that were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use duocast_router_core::{Link, Path};

    use super::*;

    fn left(shed: &mut Shed, now: Instant, is_full: bool) -> usize {
        let path = Path { link: Link::Udp(0), local: None, remote: ([192, 0, 2, 1], 9).into() };
        let (audio, video) = ([&[0x80, 111][..], &[0; 150]].concat(), [&[0x80, 96][..], &[0; 1100]].concat());
        let (report, hello, check) = ([0x81; 600], [22; 600], [0; 600]);
        let report = [&[0x81, 201][..], &report].concat();
        let all = [&audio[..], &video, &report, &hello, &check];
        let mut datagrams = all.map(|contents| Datagram { path, contents }).to_vec();
        shed.lighten(now, is_full, &mut datagrams);
        datagrams.len()
    }

    #[test]
    fn only_one_who_stays_behind_drops_video_and_nothing_else() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut shed = Shed::default();
        let course = [
            (0, true, 5),
            (49, true, 5),
            // It has caught up: a machine that stood still for a moment.
            (49, false, 5),
            (60, true, 5),
            (109, true, 5),
            (110, true, 4),
            (111, true, 4),
            (112, false, 5),
            (400, true, 5),
        ];
        for (ms, is_full, expected) in course {
            assert_eq!(left(&mut shed, at(ms), is_full), expected, "at {ms} ms");
        }
        assert_eq!(shed.dropped(), 2);
    }
}
