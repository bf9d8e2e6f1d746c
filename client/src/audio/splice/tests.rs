use str0m::format::Codec;

use super::*;
use crate::media::Path::{Direct, Routed};

/// Two ways with delays and numbers of their own, and what comes out.
struct World {
    splice: Splice,
    start: Instant,
    out: Vec<ReceivedRtp>,
    sent: [u64; 2],
}

/// How much later a packet comes on each way, and what its numbers are shifted by.
const DELAY_MS: [u64; 2] = [60, 20];
const FIRST: [u64; 2] = [1000, 1];
const TIME: [u32; 2] = [777_000, 5];

impl World {
    fn new() -> Self {
        Self { splice: Splice::default(), start: Instant::now(), out: Vec::new(), sent: [0; 2] }
    }

    /// What comes of frame `n` on this way. A way counts only what is sent on it; time is the frame's.
    fn packet(&mut self, path: Path, n: u64, payload: &[u8]) -> (u64, Path, ReceivedRtp) {
        let lane = path as usize;
        let at = n * 20 + DELAY_MS[lane];
        let packet = ReceivedRtp {
            sequence: FIRST[lane] + self.sent[lane],
            rtp_time: TIME[lane].wrapping_add(n as u32 * 960),
            marker: false,
            codec: Codec::Opus,
            payload: payload.into(),
            arrived: self.start + Duration::from_millis(at),
        };
        self.sent[lane] += 1;
        (at, path, packet)
    }

    /// Sends frames on these ways; the splice gets them as they arrive.
    fn frames(&mut self, frames: std::ops::Range<u64>, ways: &[Path]) {
        let mut flying = Vec::new();
        for n in frames {
            for path in ways {
                flying.push(self.packet(*path, n, &n.to_be_bytes()));
            }
        }
        self.arrive(flying);
    }

    fn arrive(&mut self, mut flying: Vec<(u64, Path, ReceivedRtp)>) {
        flying.sort_by_key(|(at, ..)| *at);
        for (_, path, packet) in flying {
            self.splice.handle_packet(path, packet, &mut self.out);
        }
    }

    /// The frames that came out, in the order of their numbers.
    fn heard(&self) -> Vec<u64> {
        let mut out: Vec<_> = self.out.iter().collect();
        out.sort_by_key(|packet| packet.sequence);
        out.iter().map(|packet| u64::from_be_bytes(packet.payload[..].try_into().unwrap())).collect()
    }

    fn assert_seamless(&self, frames: std::ops::Range<u64>) {
        let heard = self.heard();
        let wrong = heard.iter().zip(frames.clone()).position(|(heard, sent)| *heard != sent);
        assert_eq!((wrong, heard.len()), (None, frames.count()), "each frame once, in order");
        let first = self.out.iter().map(|p| p.sequence).min().unwrap();
        let numbers: Vec<u64> = self.heard().iter().map(|n| n - self.heard()[0] + first).collect();
        let mut sequences: Vec<u64> = self.out.iter().map(|p| p.sequence).collect();
        sequences.sort_unstable();
        assert_eq!(sequences, numbers, "numbered without a gap");
    }
}

#[test]
fn one_way_passes_as_it_is() {
    let mut world = World::new();
    world.frames(0..50, &[Routed]);
    world.assert_seamless(0..50);
    assert_eq!((world.out[0].sequence, world.out[0].rtp_time), (1000, 777_000));
}

#[test]
fn a_stream_that_goes_over_and_back_many_times_loses_and_doubles_nothing() {
    let mut world = World::new();
    world.frames(0..50, &[Routed]);
    let mut n = 50;
    for _ in 0..10 {
        world.splice.set_double(true);
        world.frames(n..n + 20, &[Routed, Direct]);
        world.splice.set_lead(Direct);
        world.frames(n + 20..n + 120, &[Direct]);
        world.frames(n + 120..n + 130, &[Routed, Direct]);
        world.splice.set_lead(Routed);
        world.splice.set_double(false);
        world.frames(n + 130..n + 150, &[Routed]);
        n += 150;
    }
    world.assert_seamless(0..n);
}

#[test]
fn a_way_that_takes_over_without_overlap_goes_on_at_the_right_place() {
    let mut world = World::new();
    world.splice.set_double(true);
    world.frames(0..20, &[Routed, Direct]);
    world.splice.set_lead(Direct);
    world.frames(20..200, &[Direct]);
    // The direct leg dies; two frames are lost on it, and the next comes on the other way.
    world.splice.set_lead(Routed);
    world.frames(202..250, &[Routed]);
    assert_eq!(world.heard(), (0..200).chain(202..250).collect::<Vec<_>>());
    let number = |frame: u64| {
        let of = |p: &&ReceivedRtp| p.payload[..] == frame.to_be_bytes();
        world.out.iter().find(of).unwrap().sequence
    };
    assert_eq!(number(202) - number(199), 3, "the two that are lost have their place");
}

#[test]
fn the_routed_way_goes_on_at_the_right_place_though_the_direct_leg_is_gone_before_anything_came_on_both() {
    let mut world = World::new();
    world.frames(0..50, &[Routed]);
    world.splice.set_double(true);
    world.frames(50..80, &[Routed, Direct]);
    world.splice.set_lead(Direct);
    world.frames(80..150, &[Direct]);
    world.splice.set_double(false);
    world.frames(150..200, &[Routed]);
    world.assert_seamless(0..200);
}

#[test]
fn a_pause_of_the_sender_is_no_loss_on_either_way() {
    let mut world = World::new();
    world.splice.set_double(true);
    world.frames(0..20, &[Routed, Direct]);
    world.frames(100..120, &[Routed, Direct]);
    let mut sequences: Vec<u64> = world.out.iter().map(|p| p.sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1000..1040).collect::<Vec<_>>());
}

#[test]
fn what_is_lost_on_one_way_comes_on_the_other() {
    let mut world = World::new();
    world.splice.set_double(true);
    let mut flying = Vec::new();
    for n in 0..100 {
        for path in [Routed, Direct] {
            let packet = world.packet(path, n, &n.to_be_bytes());
            if n < 10 || n % 2 == u64::from(path == Routed) {
                flying.push(packet);
            }
        }
    }
    world.arrive(flying);
    world.assert_seamless(0..100);
}

#[test]
fn a_sender_that_encodes_for_each_way_by_itself_is_gone_over_to() {
    let mut world = World::new();
    world.frames(0..50, &[Routed]);
    world.splice.set_double(true);
    let tell = |n: u64, path: Path| n * 2 + u64::from(path == Direct);
    let send = |world: &mut World, frames: std::ops::Range<u64>, ways: &[Path]| {
        let mut flying = Vec::new();
        for n in frames {
            for path in ways {
                flying.push(world.packet(*path, n, &tell(n + 1000, *path).to_be_bytes()));
            }
        }
        world.arrive(flying);
    };
    send(&mut world, 50..70, &[Routed, Direct]);
    assert!(world.heard()[50..].iter().all(|n| n % 2 == 0), "what is played comes on one way");
    world.splice.set_lead(Direct);
    send(&mut world, 70..90, &[Routed, Direct]);
    send(&mut world, 90..150, &[Direct]);
    let heard = world.heard();
    assert!(heard[heard.len() - 60..].iter().all(|n| n % 2 == 1));
    world.splice.set_lead(Routed);
    send(&mut world, 150..200, &[Routed]);
    let last = *world.heard().last().unwrap();
    assert_eq!(last, tell(1199, Routed));
}

/// Tones do this: the encoder writes the same packets again and again.
#[test]
fn a_sound_that_repeats_itself_is_put_where_it_belongs() {
    for period in [1, 5, 12, 25] {
        let mut world = World::new();
        let send = |world: &mut World, frames: std::ops::Range<u64>, ways: &[Path]| {
            let mut flying = Vec::new();
            for n in frames {
                for path in ways {
                    flying.push(world.packet(*path, n, &(n % period).to_be_bytes()));
                }
            }
            world.arrive(flying);
        };
        send(&mut world, 0..60, &[Routed]);
        world.splice.set_double(true);
        send(&mut world, 60..80, &[Routed, Direct]);
        assert!(world.splice.is_ready(Direct), "period {period}");
        if period > 4 {
            let apart = TIME[0].wrapping_sub(TIME[1]);
            let shift = world.splice.lanes[Direct as usize].shift.unwrap();
            assert_eq!(
                shift.time,
                apart,
                "period {period}: {} frames off",
                shift.time.wrapping_sub(apart) as i32 / 960
            );
        }
        world.splice.set_lead(Direct);
        send(&mut world, 80..120, &[Direct]);
        if period > 4 {
            assert_eq!(world.out.len(), 120, "period {period}");
        }
    }
}

#[test]
fn silence_puts_a_way_in_the_wrong_place_only_until_there_is_a_sound() {
    let mut world = World::new();
    world.splice.set_double(true);
    let mut flying = Vec::new();
    for n in 0..40 {
        for path in [Routed, Direct] {
            flying.push(world.packet(path, n, &[0; 8]));
        }
    }
    world.arrive(flying);
    world.out.clear();
    world.frames(40..120, &[Routed, Direct]);
    let heard = world.heard();
    let steady: Vec<u64> = heard.iter().copied().filter(|n| *n >= 60).collect();
    assert_eq!(steady, (60..120).collect::<Vec<_>>(), "{heard:?}");
}

#[test]
fn a_new_routed_leg_starts_the_stream_over_only_if_it_carries_it() {
    let mut world = World::new();
    world.frames(0..10, &[Routed]);
    assert!(world.splice.start_over(Routed));
    world.splice.set_double(true);
    world.frames(10..30, &[Routed, Direct]);
    world.splice.set_lead(Direct);
    assert!(!world.splice.start_over(Routed));
    world.frames(30..60, &[Direct]);
    let before = world.out.len();
    world.frames(60..80, &[Routed, Direct]);
    assert_eq!(world.out.len(), before + 20);
}
