//! A sender with layers, a bottleneck and a receiver that reports, in virtual time and with one seed.
#![expect(clippy::disallowed_methods, reason = "a start for virtual time")]

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use rtcp_types::{FciParser, RtcpPacketWriter, TwccBuilder};

use super::*;
use crate::arrivals::Arrivals;

/// Sound, and what the layers of a picture take more, in bits per second.
const SOUND: f64 = 60e3;
const LAYERS: [f64; 3] = [150e3, 500e3, 1.6e6];
const FULL: u64 = 1_660_000;

const MS: u64 = 1000;

/// The way to the client.
struct Bottleneck {
    rate: f64,
    /// Longest queue, in microseconds.
    queue: u64,
    delay: u64,
    /// Up to this much longer, each packet for itself.
    jitter: u64,
    loss_percent: u64,
    free_at: u64,
}

struct Simulation {
    began: Instant,
    /// Microseconds.
    now: u64,
    seed: u64,
    path: Bottleneck,
    /// Reports that are lost on the way back, in percent.
    report_loss: u64,
    bandwidth: Bandwidth,
    arrivals: Arrivals,
    /// The client can be asked for reports.
    can_be_asked: bool,
    asked: Asked,
    to_client: BTreeMap<(u64, u16), Packet>,
    to_router: VecDeque<(u64, TwccBuilder)>,
    video: VecDeque<usize>,
    /// The highest layer to send; `None`: as the estimate allows.
    fixed: Option<f64>,
    sound_only: bool,
    /// Nothing is sent but probes.
    is_silent: bool,
    /// The last packet asked for a report.
    has_asked: bool,
    padding_bytes: u64,
    sound_sent: u64,
    sound_arrived: u64,
    /// Of the last sound that arrived.
    sound_delay: u64,
    packets_arrived: u64,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    sent_at: u64,
    is_sound: bool,
    number: u64,
    /// Of how many packets a report is asked for, if it can ask; `None`: it is told a plain number.
    asks: Option<Option<u16>>,
}

/// What a client knows that is asked for reports, as Chromium does it: plain numbers have it report by itself, others end that.
#[derive(Debug, Default)]
struct Asked {
    is_on: bool,
    /// When each packet arrived, in microseconds.
    arrived: BTreeMap<u64, u64>,
    reports: u8,
}

impl Asked {
    /// The report on so many packets of which this is the last.
    fn report(&mut self, last: u64, count: u16) -> TwccBuilder {
        let first = last + 1 - u64::from(count);
        self.arrived = self.arrived.split_off(&first);
        let tick = |at: &u64| (*at / TICK as u64) as i64;
        let began = self.arrived.values().map(tick).next().unwrap();
        let mut before = began / 256 * 256;
        let status = |number: u64| {
            let Some(at) = self.arrived.get(&number).map(tick) else { return TwccPacketStatus::NotReceived };
            let delta = i16::try_from(at - std::mem::replace(&mut before, at)).expect("all of it fits");
            TwccPacketStatus::Received { delta }
        };
        let statuses: Vec<_> = (first..=last).map(status).collect();
        self.reports = self.reports.wrapping_add(1);
        let reference = (began / 256) as u32 & 0xff_ffff;
        Twcc::builder(first as u16, reference, self.reports, &statuses, Some(1200))
    }
}

fn bottleneck(rate: f64) -> Bottleneck {
    Bottleneck { rate, queue: 300 * MS, delay: 20 * MS, jitter: 0, loss_percent: 0, free_at: 0 }
}

impl Simulation {
    fn new(path: Bottleneck, wanted: u64) -> Self {
        let began = Instant::now();
        Self {
            began,
            now: 0,
            seed: 1,
            path,
            report_loss: 0,
            // Close to the wrap.
            bandwidth: Bandwidth::new(began, 65_000, Demand { wanted }),
            arrivals: Arrivals::new(began),
            can_be_asked: false,
            asked: Asked::default(),
            to_client: BTreeMap::new(),
            to_router: VecDeque::new(),
            video: VecDeque::new(),
            fixed: None,
            sound_only: false,
            is_silent: false,
            has_asked: false,
            padding_bytes: 0,
            sound_sent: 0,
            sound_arrived: 0,
            sound_delay: 0,
            packets_arrived: 0,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below.max(1)
    }

    fn instant(&self) -> Instant {
        self.began + Duration::from_micros(self.now)
    }

    fn estimate(&self) -> f64 {
        self.bandwidth.estimate(self.instant()).map_or(0.0, |estimate| estimate.bits_per_second as f64)
    }

    /// What is sent of the picture.
    fn video_rate(&self) -> f64 {
        if self.sound_only {
            return 0.0;
        }
        let fits = |layer: &&f64| SOUND + **layer <= self.estimate();
        self.fixed.unwrap_or_else(|| match self.bandwidth.rate.bits() {
            None => LAYERS[0],
            Some(_) => LAYERS.iter().rev().find(fits).copied().unwrap_or_default(),
        })
    }

    fn send(&mut self, bytes: usize, is_sound: bool) {
        let (instant, number) = (self.instant(), self.bandwidth.sent.next());
        let asking = self.bandwidth.next_asking(instant).filter(|_| self.can_be_asked);
        let asks = asking.map(|asking| match *asking.as_bytes() {
            [_, _, high, low] => Some(u16::from_be_bytes([high & 0x7f, low])),
            _ => None,
        });
        self.has_asked = asks.flatten().is_some();
        match asks {
            Some(asks) => self.bandwidth.note_asking(instant, asks.is_some()),
            None => self.bandwidth.note_plain(),
        }
        self.bandwidth.note_sent(instant, bytes);
        self.sound_sent += u64::from(is_sound);
        if self.random(100) < self.path.loss_percent {
            return;
        }
        let takes = (bytes as f64 * 8e6 / self.path.rate) as u64;
        let through_at = self.path.free_at.max(self.now) + takes;
        if through_at - self.now > self.path.queue {
            return;
        }
        self.path.free_at = through_at;
        let at = through_at + self.path.delay + self.random(self.path.jitter);
        self.to_client.insert((at, number as u16), Packet { sent_at: self.now, is_sound, number, asks });
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.step();
        }
    }

    /// A millisecond.
    fn step(&mut self) {
        self.now += MS;
        let (now, instant) = (self.now, self.instant());
        if now.is_multiple_of(20 * MS) && !self.is_silent {
            self.send(150, true);
        }
        if now.is_multiple_of(33 * MS) && !self.is_silent {
            let mut bytes = (self.video_rate() * 0.033 / 8.0) as usize;
            while bytes > 0 {
                let part = bytes.min(1100);
                self.video.push_back(part.max(40));
                bytes -= part;
            }
        }
        if let Some(bytes) = self.video.pop_front() {
            self.send(bytes, false);
        }
        if self.bandwidth.wakes_at(instant).is_some_and(|at| at <= instant) {
            while self.bandwidth.wants_padding(instant) {
                self.padding_bytes += 290;
                self.send(290, false);
            }
            assert!(self.bandwidth.wakes_at(instant).is_none_or(|at| at > instant), "it would spin");
        }
        while let Some(entry) = self.to_client.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, number), packet) = entry.remove_entry();
            self.packets_arrived += 1;
            self.asked.is_on = packet.asks.is_some();
            match packet.asks {
                None => self.arrivals.note(self.began + Duration::from_micros(at), number),
                Some(asks) => {
                    self.asked.arrived.insert(packet.number, at);
                    let report = asks.map(|count| self.asked.report(packet.number, count));
                    report.into_iter().for_each(|report| self.send_report(report));
                }
            }
            if packet.is_sound {
                self.sound_arrived += 1;
                self.sound_delay = at - packet.sent_at;
            }
        }
        if !self.asked.is_on && self.arrivals.due_at(instant).is_some_and(|at| at <= instant) {
            while let Some(report) = self.arrivals.report(instant) {
                self.send_report(report);
            }
        }
        while let Some((_, report)) = self.to_router.pop_front_if(|(at, _)| *at <= now) {
            take(&mut self.bandwidth, instant, &report);
        }
    }

    fn send_report(&mut self, report: TwccBuilder) {
        if self.random(100) >= self.report_loss {
            self.to_router.push_back((self.now + 20 * MS, report));
        }
    }

    /// Runs until the estimate is as it should be: after how many milliseconds.
    fn run_until(&mut self, most: u64, is_right: impl Fn(f64) -> bool) -> u64 {
        (1..=most)
            .find(|_| {
                self.step();
                is_right(self.estimate())
            })
            .unwrap_or_else(|| panic!("after {most} ms still {}: {:?}", self.estimate(), self.bandwidth.rate))
    }
}

fn take(bandwidth: &mut Bandwidth, now: Instant, report: &TwccBuilder) {
    let mut bytes = vec![0; report.calculate_size().unwrap()];
    report.write_into_unchecked(&mut bytes);
    bandwidth.take_report(now, &Twcc::parse(&bytes).unwrap());
}

#[test]
fn a_step_down_is_followed_within_a_second_and_a_step_up_within_eight() {
    for can_be_asked in [false, true] {
        follows_steps(Simulation { can_be_asked, ..Simulation::new(bottleneck(2e6), FULL) });
    }
}

fn follows_steps(mut simulation: Simulation) {
    simulation.run(10_000);
    assert!(simulation.estimate() > 1.66e6, "{}", simulation.estimate());

    simulation.path.rate = 300e3;
    let fell = simulation.run_until(1200, |estimate| estimate < 300e3);
    let (sent, arrived) = (simulation.sound_sent, simulation.sound_arrived);
    simulation.run(2500);
    assert!(
        simulation.sound_delay < 60 * MS,
        "the queue is empty {} ms after {fell}",
        simulation.sound_delay / MS
    );
    simulation.run(28_000);
    // A piece or two are always on their way.
    let lost = (simulation.sound_sent - sent).saturating_sub(simulation.sound_arrived - arrived);
    assert!(lost < 15, "{lost} of 1500 pieces of sound are lost");
    assert!((200e3..320e3).contains(&simulation.estimate()), "{}", simulation.estimate());

    simulation.path.rate = 2e6;
    let rose = simulation.run_until(8000, |estimate| estimate > 1.66e6);
    simulation.run(5000);
    assert!(simulation.estimate() > 1.66e6, "it stays, {rose} ms after the step: {}", simulation.estimate());
}

#[test]
fn loss_by_chance_and_jitter_do_not_collapse_the_estimate() {
    let paths = [(2, 0), (0, 15 * MS), (2, 10 * MS)];
    for ((loss_percent, jitter), can_be_asked) in
        paths.into_iter().flat_map(|path| [(path, false), (path, true)])
    {
        let path = Bottleneck { loss_percent, jitter, ..bottleneck(4e6) };
        let mut simulation = Simulation { can_be_asked, ..Simulation::new(path, FULL) };
        simulation.run(15_000);
        let mut least = f64::MAX;
        for _ in 0..60 {
            simulation.run(1000);
            least = least.min(simulation.estimate());
        }
        assert!(least > 1.2e6, "{loss_percent} % and {jitter} us: {least}");
    }
}

#[test]
fn a_short_queue_that_loses_instead_of_waiting_is_noticed_as_well() {
    for can_be_asked in [false, true] {
        let path = Bottleneck { queue: 30 * MS, ..bottleneck(2e6) };
        let mut simulation = Simulation { can_be_asked, ..Simulation::new(path, FULL) };
        simulation.run(10_000);
        simulation.path.rate = 300e3;
        simulation.run_until(1500, |estimate| estimate < 330e3);
    }
}

#[test]
fn what_is_not_wanted_is_not_looked_for() {
    let mut simulation = Simulation::new(bottleneck(4e6), SOUND as u64 / 2);
    simulation.sound_only = true;
    simulation.run(30_000);
    assert!(simulation.bandwidth.estimate(simulation.instant()).is_some());
    assert_eq!(simulation.padding_bytes, 0);
    simulation.bandwidth.set_demand(Demand { wanted: FULL });
    let rose = simulation.run_until(3000, |estimate| estimate > FULL as f64);
    let padding = simulation.padding_bytes;
    simulation.run(30_000);
    assert_eq!(simulation.padding_bytes, padding, "found after {rose} ms, and no further");
}

#[test]
fn where_there_is_no_room_probes_cost_little_and_hurt_no_sound() {
    let mut simulation = Simulation::new(bottleneck(300e3), FULL);
    simulation.fixed = Some(LAYERS[0]);
    simulation.run(10_000);
    let (padding, mut longest) = (simulation.padding_bytes, 0);
    for _ in 0..60_000 {
        simulation.step();
        longest = longest.max(simulation.sound_delay);
    }
    let share = (simulation.padding_bytes - padding) as f64 * 8.0 / 60.0 / 300e3;
    assert!(share < 0.03, "{share} of the path is padding");
    assert!(longest < 150 * MS, "{} ms", longest / MS);
    assert!((200e3..320e3).contains(&simulation.estimate()), "{}", simulation.estimate());
}

#[test]
fn without_reports_less_and_less_is_sent_and_with_them_it_comes_back() {
    for can_be_asked in [false, true] {
        goes_without_reports(Simulation { can_be_asked, ..Simulation::new(bottleneck(2e6), FULL) });
    }
}

fn goes_without_reports(mut simulation: Simulation) {
    simulation.run(10_000);
    simulation.report_loss = 50;
    simulation.run(10_000);
    assert!(simulation.estimate() > 1.5e6, "half of them do: {}", simulation.estimate());
    simulation.report_loss = 100;
    simulation.run(10_000);
    assert!(simulation.estimate() <= MIN_RATE, "{}", simulation.estimate());
    simulation.report_loss = 0;
    simulation.run_until(8000, |estimate| estimate > 1.66e6);
}

#[test]
fn a_client_that_is_asked_reports_more_often_and_a_queue_is_noticed_sooner() {
    let noticed = [false, true].map(|can_be_asked| {
        let mut simulation = Simulation { can_be_asked, ..Simulation::new(bottleneck(2e6), FULL) };
        simulation.run(10_000);
        assert_eq!(simulation.asked.is_on, can_be_asked);
        simulation.path.rate = 300e3;
        let is_held = |simulation: &mut Simulation| {
            simulation.step();
            !simulation.bandwidth.is_open(simulation.instant())
        };
        (1..500).find(|_| is_held(&mut simulation)).expect("it is noticed")
    });
    let [unasked, asked] = noticed;
    assert!(asked < 95 && asked + 20 < unasked, "{asked} and {unasked} ms after the way became narrow");
}

/// What is sent after the last packet that asked is told of by nobody: that is no silence.
#[test]
fn where_nothing_is_sent_nothing_is_concluded_from_that() {
    for seconds in [2, 5, 10, 30] {
        let mut simulation = Simulation { can_be_asked: true, ..Simulation::new(bottleneck(2e6), FULL) };
        simulation.run(10_000);
        let before = simulation.estimate();
        // One that does not ask is the last.
        assert!((0..100).any(|_| {
            simulation.step();
            !simulation.has_asked
        }));
        simulation.is_silent = true;
        simulation.run(seconds * 1000);
        assert!(simulation.estimate() >= before * 0.95, "{seconds} s: {before}, {}", simulation.estimate());
        simulation.is_silent = false;
        simulation.run(1000);
        assert!(simulation.estimate() >= before * 0.9, "{seconds} s: {before}, {}", simulation.estimate());
        assert!(simulation.bandwidth.is_open(simulation.instant()), "{seconds} s");
    }
}

#[test]
fn jitter_and_lost_answers_hold_pictures_back_for_moments_alone() {
    for (jitter, report_loss) in [(0, 0), (20 * MS, 0), (0, 5), (10 * MS, 3)] {
        let path = Bottleneck { jitter, ..bottleneck(4e6) };
        let mut simulation = Simulation { can_be_asked: true, report_loss, ..Simulation::new(path, FULL) };
        simulation.run(10_000);
        let is_held = |simulation: &mut Simulation| {
            simulation.step();
            !simulation.bandwidth.is_open(simulation.instant())
        };
        let held = (0..20_000).filter(|_| is_held(&mut simulation)).count();
        assert!(held < 600, "{jitter} us, {report_loss} %: {held} of 20,000 ms");
        assert!(simulation.estimate() > 1.5e6, "{jitter} us, {report_loss} %: {}", simulation.estimate());
    }
}

#[test]
fn whoever_never_reports_is_never_estimated() {
    let mut simulation = Simulation::new(bottleneck(2e6), FULL);
    simulation.report_loss = 100;
    simulation.run(5000);
    assert_eq!(simulation.bandwidth.estimate(simulation.instant()), None);
    assert_eq!((simulation.padding_bytes, simulation.bandwidth.wakes_at(simulation.instant())), (0, None));
}

#[test]
fn a_receivers_own_estimate_is_an_upper_bound_for_a_while() {
    let mut simulation = Simulation::new(bottleneck(4e6), FULL);
    simulation.run(10_000);
    simulation.bandwidth.take_limit(simulation.instant(), 400_000);
    assert!(simulation.estimate() <= 400e3);
    let padding = simulation.padding_bytes;
    simulation.run(9000);
    assert!(simulation.estimate() <= 400e3 && simulation.padding_bytes == padding);
    simulation.run_until(3000, |estimate| estimate > 1.5e6);
}

#[test]
fn only_what_matters_is_told() {
    let mut simulation = Simulation::new(bottleneck(4e6), FULL);
    let mut told = Vec::new();
    for _ in 0..60_000 {
        simulation.step();
        told.extend(simulation.bandwidth.new_estimate(simulation.instant()));
    }
    assert!((3..60).contains(&told.len()), "{} times in a minute", told.len());
    assert!(told.last().is_some_and(|estimate| estimate.bits_per_second > 1_600_000));
}

/// As somebody would who wants to break it; the estimate hurts only himself.
#[test]
fn absurd_reports_break_nothing() {
    let mut simulation = Simulation::new(bottleneck(2e6), FULL);
    simulation.run(5000);
    let now = simulation.instant();
    for (base, reference, delta) in
        [(0_u16, 0_u32, 0_i16), (1, 0xff_ffff, i16::MAX), (65_535, 1 << 23, i16::MIN)]
    {
        let next = simulation.bandwidth.next_number();
        for base in [base, next, next.wrapping_sub(1), next.wrapping_sub(2000), next.wrapping_add(30_000)] {
            for statuses in [1, 3000] {
                let statuses = vec![TwccPacketStatus::Received { delta }; statuses];
                take(&mut simulation.bandwidth, now, &Twcc::builder(base, reference, 0, &statuses, None));
            }
        }
    }
    assert!(simulation.estimate() >= MIN_RATE && simulation.estimate() <= 30e6);
    simulation.run(20_000);
    assert!(simulation.estimate() > 1.2e6, "it recovers: {}", simulation.estimate());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Reports of any bytes between packets at any times.
    #[test]
    fn no_report_makes_it_panic_or_leave_its_bounds(
        steps in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 8..60), 0_u64..500_000, 1..20_usize), 1..60)
    ) {
        let began = Instant::now();
        let mut bandwidth = Bandwidth::new(began, 0, Demand { wanted: 1_000_000 });
        let mut now = began;
        for (bytes, later, packets) in steps {
            now += Duration::from_micros(later);
            (0..packets * 20).for_each(|_| bandwidth.note_sent(now, 1000));
            let mut report = bytes;
            let back = u16::from(report[1]);
            report[..2].copy_from_slice(&bandwidth.next_number().wrapping_sub(back).to_be_bytes());
            bandwidth.take_report(now, &Twcc::parse(&report).unwrap());
            for _ in 0..1000 {
                if !bandwidth.wants_padding(now) {
                    break;
                }
                bandwidth.note_sent(now, 290);
            }
            prop_assert!(bandwidth.wakes_at(now).is_none_or(|at| at > now || bandwidth.probes.id() == 0));
            if let Some(Estimate { bits_per_second, .. }) = bandwidth.estimate(now) {
                prop_assert!((30_000..=30_000_000).contains(&bits_per_second));
            }
        }
    }
}

#[test]
fn where_nothing_is_wanted_packets_have_numbers_and_nothing_is_kept_of_them() {
    let now = Instant::now();
    let mut bandwidth = Bandwidth::new(now, 65_535, Demand { wanted: 0 });
    for number in [65_535, 0, 1] {
        assert_eq!(bandwidth.next_number(), number);
        bandwidth.note_sent(now, 1000);
    }
    assert_eq!(bandwidth.sent.bytes_in_flight(), 0);
    assert_eq!([0, 1].map(|number| bandwidth.sent.find(number)), [None; 2]);
    assert_eq!((bandwidth.estimate(now), bandwidth.wakes_at(now)), (None, None));
    bandwidth.set_demand(Demand { wanted: 1_000_000 });
    bandwidth.note_sent(now, 1000);
    assert!(bandwidth.sent.find(2).is_some());
}

#[test]
fn where_nothing_else_is_sent_a_packet_of_a_picture_asks_now_and_then_whether_the_way_is_there() {
    let mut simulation = Simulation::new(bottleneck(2e6), FULL);
    simulation.run(5000);
    let (began, bandwidth) = (simulation.instant(), &mut simulation.bandwidth);
    // Nobody speaks, and no report comes any more.
    let passes = (1..900).map(|ms| {
        let now = began + Duration::from_millis(ms);
        let passes = bandwidth.lets_pass(now);
        assert!(passes || bandwidth.passes_at(now).is_some_and(|at| at > now), "it would never look again");
        if passes {
            bandwidth.note_sent(now, 1000);
        }
        passes
    });
    let passes: Vec<bool> = passes.collect();
    let late = passes[450..].iter().filter(|passes| **passes).count();
    assert!((1..=6).contains(&late), "{late} packets in the second half of it");
}

/// The least estimate of two seconds after a machine stood still for so many, with a queue that had just been noticed or without.
fn least_after_standing_still(is_queued: bool, seconds: u64) -> f64 {
    let mut simulation = Simulation::new(bottleneck(4e6), FULL);
    simulation.run(10_000);
    if is_queued {
        simulation.path.free_at = simulation.now + 150 * MS;
        let is_noticed = (0..300).any(|_| {
            simulation.step();
            simulation.bandwidth.queue.stands()
        });
        assert!(is_noticed);
    }
    simulation.now += seconds * 1000 * MS;
    let mut least = f64::MAX;
    for _ in 0..2000 {
        simulation.step();
        least = least.min(simulation.estimate());
    }
    assert!(simulation.bandwidth.is_open(simulation.instant()) && !simulation.bandwidth.queue.stands());
    least
}

#[test]
fn a_machine_that_stood_still_takes_its_own_pause_for_no_queue() {
    for is_queued in [false, true] {
        let without = least_after_standing_still(is_queued, 0);
        for seconds in [2, 60] {
            let least = least_after_standing_still(is_queued, seconds);
            assert!(least > 0.9 * without, "{is_queued}, {seconds} s: {least}, not {without}");
        }
    }
}
