//! The new leg of a call fails, at each step there is, with sound and pictures on their way: nobody hears or sees anything of it.

use std::time::Duration;

use super::switching::{DIRECT_CUT, Kind, Loses, NOTHING, Trouble, World};
use super::{ATTEMPT_MAX, BACK_MAX};
use crate::media::Path;
use crate::session::DirectPhase;

/// A silence of a second, and the way that the news of it takes.
const DIES_WITHIN: Duration = Duration::from_millis(1300);

const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// Lets time pass until then; in each second of it both are heard and seen.
    fn goes_on_until(&mut self, what: &str, at_most: Duration, done: impl Fn(&Self) -> bool) {
        let start = self.now;
        while !done(self) {
            assert!(self.now - start < at_most, "{what} does not happen");
            self.assert_heard_and_seen();
        }
    }

    /// Both say yes, and the attempt that follows fails.
    fn fails_to_go_direct(&mut self, what: &str) {
        let before = self.view[0].attempt;
        self.says(0, true);
        self.says(1, true);
        let is_over = |w: &Self| w.view[0].phase == DirectPhase::Routed && w.view[0].attempt > before;
        self.goes_on_until(what, ATTEMPT_MAX + 3 * SECOND, |w| is_over(w) && w.is_as_before());
    }

    /// Nothing is left of an attempt.
    fn is_as_before(&self) -> bool {
        self.both_play(Path::Routed) && self.parties.iter().all(|p| p.planner.attempt.is_none())
    }

    /// Everything that was heard and shown came once and in order, and a further attempt works.
    fn is_none_the_worse(&mut self, what: &str) {
        (self.loses, self.trouble) = (NOTHING, None);
        self.assert_heard_and_seen();
        self.go_direct();
        self.assert_heard_and_seen();
        for party in &self.parties {
            let stats = party.engine.stats();
            assert!(
                stats.audio_units.handed_over > 100 && stats.video_units.handed_over > 50,
                "{what}: {stats:?}"
            );
            assert_eq!((stats.audio_units.repeated, stats.video_units.repeated), (0, 0), "{what}");
        }
    }
}

#[test]
fn a_description_that_cannot_be_made_brought_or_taken() {
    for trouble in [
        Trouble::NoOffer,
        Trouble::OfferLost,
        Trouble::NoAnswer,
        Trouble::AnswerLost,
        Trouble::AnswerBroken,
        Trouble::OtherCertificate,
        Trouble::NoCandidates,
    ] {
        let what = format!("{trouble:?}");
        let mut world = World::new(21);
        world.trouble = Some(trouble);
        world.fails_to_go_direct(&what);
        assert_eq!(world.trouble, None, "{what}: it did not come to that");
        world.is_none_the_worse(&what);
    }
}

#[test]
fn a_path_that_takes_checks_or_keys_and_no_media() {
    let ways: [(&str, Loses); 4] = [
        ("ICE never completes", DIRECT_CUT),
        ("DTLS never completes", |_, path, kind| path == Path::Direct && kind == Kind::Dtls),
        ("no media comes", |_, path, kind| path == Path::Direct && kind == Kind::Media),
        ("media comes on one side only", |from, path, kind| {
            path == Path::Direct && kind == Kind::Media && from == 0
        }),
    ];
    for (what, loses) in ways {
        let mut world = World::new(22);
        world.loses = loses;
        world.fails_to_go_direct(what);
        world.is_none_the_worse(what);
    }
}

#[test]
fn a_path_that_dies_after_the_first_decoded_frame() {
    for both in [false, true] {
        let mut world = World::new(23);
        world.says(0, true);
        world.says(1, true);
        let decodes =
            |w: &World, n: usize| w.parties[n].planner.attempt.as_ref().is_some_and(|a| a.is_decoded);
        world.run_until("decoded", |w| decodes(w, 0) && (!both || decodes(w, 1)));
        assert_eq!(world.view[0].phase, DirectPhase::Connecting);
        world.loses = DIRECT_CUT;
        // Nobody can know it at once: until then sound is made up, as for any path that dies.
        let took = world.run_until("back", World::is_as_before);
        assert!(took <= DIES_WITHIN, "{took:?}");
        world.run(SECOND / 2);
        world.is_none_the_worse("after the first frame");
    }
}

#[test]
fn the_old_path_dies_while_it_is_closed() {
    for leaver in [0, 1] {
        let mut world = World::new(24);
        world.go_direct();
        world.says(leaver, false);
        world.run(Duration::from_millis(20));
        world.loses = DIRECT_CUT;
        world.goes_on_until("back", 3 * SECOND, World::is_as_before);
        world.is_none_the_worse("cut while closing");
    }
}

/// The way back is the new leg then. Going private does not wait for it.
#[test]
fn the_server_cannot_be_reached_on_the_way_back() {
    let mut world = World::new(25);
    world.go_direct();
    world.loses = |_, path, kind| path == Path::Routed && kind == Kind::Media;
    let pressed = world.now;
    world.says(0, false);
    world.run_until("closed", World::is_as_before);
    world.run(BACK_MAX);
    for last in world.last_direct {
        let last = last.unwrap().saturating_duration_since(pressed);
        assert!(last <= BACK_MAX + Duration::from_millis(100), "{last:?}");
    }
    let hers = world.last_direct[0].unwrap() - pressed;
    assert!(hers <= Duration::from_millis(300), "{hers:?} until her last packet to his address");
    world.loses = NOTHING;
    world.run(SECOND);
    world.is_none_the_worse("the way back was closed");
}
