//! Who sends what when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::peers::media::{AUDIO_EVERY, FRAMES_PER_SECOND, phases};

/// Something to send: when, who, audio or a frame of video, and the how-manieth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) key: usize,
    pub(super) is_audio: bool,
    pub(super) number: u64,
}

impl Due {
    fn next(self) -> Self {
        let interval = if self.is_audio { AUDIO_EVERY } else { frame_interval() };
        Self { at: self.at + interval, number: self.number + 1, ..self }
    }
}

/// What everybody sends next.
#[derive(Default)]
pub(super) struct Schedule(BinaryHeap<Reverse<Due>>);

impl Schedule {
    /// From now on this one sends, as the how-manieth party.
    pub(super) fn begin(&mut self, now: Instant, key: usize, party: usize) {
        let (audio, video) = phases(party);
        let first = Due { at: now + AUDIO_EVERY.mul_f64(audio), key, is_audio: true, number: 0 };
        self.0.push(Reverse(first));
        self.0.push(Reverse(Due { at: now + frame_interval().mul_f64(video), is_audio: false, ..first }));
    }

    /// Nobody sends any more.
    pub(super) fn stop(&mut self) {
        self.0.clear();
    }

    /// When [`Schedule::take_due`] next finds something.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(due)| due.at)
    }

    /// Puts all that is due by `now` into `turn`, in order.
    pub(super) fn take_due(&mut self, now: Instant, turn: &mut Vec<Due>) {
        while let Some(mut first) = self.0.peek_mut() {
            let Reverse(due) = *first;
            if due.at > now {
                return;
            }
            turn.push(due);
            *first = Reverse(due.next());
        }
    }
}

fn frame_interval() -> Duration {
    Duration::from_secs(1) / FRAMES_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_micros(100);

    fn second_of(schedule: &mut Schedule, start: Instant, turn: Duration) -> Vec<Due> {
        let mut all = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(1) {
            schedule.take_due(now, &mut all);
            now += turn;
        }
        all
    }

    #[test]
    fn each_party_sends_at_moments_of_its_own_that_no_turn_moves() {
        let start = Instant::now();
        let schedule = || {
            let mut schedule = Schedule::default();
            (0..3).for_each(|key| schedule.begin(start, key, key));
            schedule
        };
        let all = second_of(&mut schedule(), start, TURN);
        assert!(all.is_sorted(), "in order");
        for key in 0..3 {
            let count =
                |is_audio| all.iter().filter(|due| due.key == key && due.is_audio == is_audio).count();
            assert_eq!((count(true), count(false)), (50, 30), "party {key}");
        }
        let moments: std::collections::HashSet<Instant> = all.iter().map(|due| due.at).collect();
        assert_eq!(moments.len(), all.len());
        let slow = second_of(&mut schedule(), start, Duration::from_millis(300));
        assert_eq!(slow[..], all[..slow.len()], "a thread that stood still sends what it missed");
    }

    #[test]
    fn nothing_is_due_before_its_moment_or_after_the_end() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        assert_eq!(schedule.next(), None);
        schedule.begin(start, 7, 1);
        let first = schedule.next().unwrap();
        let mut turn = Vec::new();
        schedule.take_due(first - Duration::from_nanos(1), &mut turn);
        assert!(turn.is_empty());
        schedule.take_due(first, &mut turn);
        assert_eq!((turn.len(), turn[0].key, turn[0].number), (1, 7, 0));
        schedule.stop();
        schedule.take_due(start + Duration::from_secs(9), &mut turn);
        assert_eq!((turn.len(), schedule.next()), (1, None));
    }
}
