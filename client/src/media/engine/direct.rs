//! The second leg of a call: from its making to its end, and the changes between the two.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use duocast_model::MediaState;

use super::Engine;
use crate::media::{ConnectionState, Course, Health, Path, Peer, PeerError, PeerEvent, Transmit};

/// A connected direct leg on which nothing comes for this long is dead: checks go out, and should be answered, four times
/// a second. Higher hears nothing for longer, lower leaves over a hiccup.
const DIRECT_SILENCE_MAX: Duration = Duration::from_secs(1);

/// A party that was heard or seen on any path this recently is expected on the one that is judged.
const EXPECTED_FOR: Duration = Duration::from_millis(500);

/// Longest time that a connected direct leg on which the other party is heard is held back because it is not seen there yet.
/// Until then its pictures come through the router as well. Higher delays the change, lower may freeze the picture.
const PICTURE_MAX: Duration = Duration::from_secs(1);

/// The direct leg of one attempt.
pub(super) struct DirectLeg {
    pub(super) attempt: u32,
    pub(super) peer: Peer,
    heard_at: Instant,
    connected_at: Option<Instant>,
    is_broken: bool,
    /// Nothing may be sent any more.
    is_hushed: bool,
}

impl Engine {
    /// A direct leg, not connected yet.
    pub(crate) fn handle_direct_leg(&mut self, now: Instant, attempt: u32, peer: Peer) {
        self.forget_direct();
        self.direct = Some(DirectLeg {
            attempt,
            peer,
            heard_at: now,
            connected_at: None,
            is_broken: false,
            is_hushed: false,
        });
        if let Some(listener) = &mut self.listener {
            listener.set_double(true);
        }
        self.after(now);
    }

    /// The other party's answer. Errors: the leg is useless.
    pub(crate) fn handle_direct_answer(
        &mut self,
        now: Instant,
        attempt: u32,
        answer: &str,
    ) -> Result<(), PeerError> {
        if let Some(direct) = self.direct_of(attempt) {
            direct.peer.accept_direct_answer(now, answer)?;
        }
        self.after(now);
        Ok(())
    }

    /// The other party's candidates.
    pub(crate) fn handle_direct_candidates(&mut self, now: Instant, attempt: u32, candidates: &[String]) {
        if let Some(direct) = self.direct_of(attempt) {
            direct.peer.add_remote_candidates(now, candidates);
        }
        self.after(now);
    }

    /// A datagram on the direct leg's socket at `local`.
    pub(crate) fn handle_direct_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        if let Some(direct) = &mut self.direct {
            let refused = direct.peer.counters().refused_datagrams;
            direct.peer.handle_datagram_on(now, local, source, datagram);
            if direct.peer.counters().refused_datagrams == refused {
                direct.heard_at = now;
            }
        }
        self.after(now);
    }

    /// The direct leg's sockets are gone.
    pub(crate) fn handle_direct_broken(&mut self) {
        if let Some(direct) = &mut self.direct {
            direct.is_broken = true;
        }
    }

    /// What the other party says it sends.
    pub(crate) fn handle_peer_media(&mut self, media: MediaState) {
        self.peer_media = media;
    }

    /// Media takes this course from now on. A path that is new to the other party starts with a key frame.
    pub(crate) fn handle_course(&mut self, now: Instant, course: Course) {
        let before = std::mem::replace(&mut self.course, course);
        let is_new = |path: &Path| course.send.includes(*path) && !before.send.includes(*path);
        if let Some(video) = self.video.as_mut().filter(|_| Path::ALL.iter().any(is_new)) {
            video.source.request_keyframe();
        }
        if let Some(listener) = &mut self.listener {
            listener.set_lead(course.play);
        }
        self.switches.handle_course(now, before, course, self.so_far());
    }

    /// Asks the other party for a key frame.
    pub(crate) fn request_keyframe(&mut self, now: Instant, path: Path) {
        let peer = match path {
            Path::Routed => self.peer.as_mut(),
            Path::Direct => self.direct.as_mut().map(|direct| &mut direct.peer),
        };
        if let Some(peer) = peer.filter(|peer| peer.is_connected()) {
            peer.request_keyframe(now);
        }
    }

    /// From now on nothing is sent on the direct leg of this attempt. What comes there is still played.
    pub(crate) fn hush_direct(&mut self, now: Instant, attempt: u32) {
        if let Some(direct) = self.direct_of(attempt) {
            direct.is_hushed = true;
            self.switches.handle_left(now);
        }
    }

    /// Says goodbye on the direct leg of this attempt, if there is one; send what [`Engine::poll_transmit`] gives, and then
    /// [`Engine::forget_direct`].
    pub(crate) fn close_direct(&mut self, now: Instant, attempt: u32) -> bool {
        let Some(direct) = self.direct_of(attempt) else { return false };
        direct.peer.close(now);
        self.switches.handle_left(now);
        true
    }

    /// Drops the direct leg.
    pub(crate) fn forget_direct(&mut self) {
        let Some(old) = self.direct.take() else { return };
        self.keep_counters(&old.peer);
        let counters = old.peer.counters();
        self.stats.direct_packets_out += counters.packets_out;
        self.stats.direct_packets_in += counters.packets_in;
        self.reception[Path::Direct as usize] = Default::default();
        self.order.start_over(Path::Direct);
        if let Some(listener) = &mut self.listener {
            listener.set_double(false);
        }
    }

    /// How the two paths are.
    pub(crate) fn health(&self, now: Instant) -> Health {
        let Some(direct) = &self.direct else { return Health::default() };
        let is_connected = direct.peer.is_connected();
        let is_silent = now.saturating_duration_since(direct.heard_at) >= DIRECT_SILENCE_MAX;
        let is_dead = direct.is_broken
            || direct.peer.state() == ConnectionState::Closed
            || (direct.connected_at.is_some() && (!is_connected || is_silent));
        let is_young = direct.connected_at.is_some_and(|at| now.saturating_duration_since(at) < PICTURE_MAX);
        let routed_connected = self.peer.as_ref().is_some_and(Peer::is_connected);
        Health {
            attempt: direct.attempt,
            is_connected,
            is_dead,
            decodes: is_connected && self.decodes(now, Path::Direct, is_young),
            routed_decodes: routed_connected && self.decodes(now, Path::Routed, true),
            routed_since: self.reception[Path::Routed as usize].comes_since(now),
        }
    }

    /// The other party is heard and seen on this path, as far as it sends anything.
    fn decodes(&self, now: Instant, path: Path, is_patient: bool) -> bool {
        let recent =
            |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) <= EXPECTED_FOR);
        let speaks = self.peer_media.audio && self.reception.iter().any(|r| recent(r.audio_at()));
        let shows = self.peer_media.video && self.reception.iter().any(|r| recent(r.frames.heard_at()));
        let here = &self.reception[path as usize];
        // The picture may keep a path waiting, but not for ever where there is sound.
        let must_see = shows && (is_patient || !speaks);
        let is_ready = self.listener.as_ref().is_none_or(|listener| listener.is_ready(path));
        (!speaks || (here.is_heard(now) && is_ready)) && (!must_see || here.is_seen(now))
    }

    pub(super) fn direct_timeout(&mut self, now: Instant) {
        if let Some(direct) = self.direct.as_mut().filter(|direct| direct.peer.poll_timeout() <= now) {
            direct.peer.handle_timeout(now);
        }
    }

    /// Takes in what the direct leg had to tell.
    pub(super) fn after_direct(&mut self, now: Instant) {
        while let Some(event) = self.direct.as_mut().and_then(|direct| direct.peer.poll_event()) {
            match event {
                PeerEvent::Connection(state) => self.on_direct_connection(now, state),
                PeerEvent::Audio(packet) => self.on_audio(Path::Direct, packet),
                PeerEvent::Video(packet) => self.on_video(Path::Direct, &packet),
                PeerEvent::KeyframeWanted => self.on_keyframe_wanted(),
                PeerEvent::Stats(wire) => {
                    let loss = wire.loss_out.filter(|_| self.course.send.includes(Path::Direct));
                    if let (Some(talker), Some(loss)) = (&mut self.talker, loss) {
                        talker.set_loss(loss);
                    }
                }
            }
        }
    }

    fn on_direct_connection(&mut self, now: Instant, state: ConnectionState) {
        if let Some(direct) = self.direct.as_mut().filter(|_| state == ConnectionState::Connected) {
            direct.connected_at.get_or_insert(now);
            direct.heard_at = now;
        }
    }

    /// The next datagram of the direct leg, if it may send any.
    pub(super) fn poll_direct_transmit(&mut self) -> Option<Transmit> {
        let direct = self.direct.as_mut()?;
        while let Some(transmit) = direct.peer.poll_transmit() {
            if !direct.is_hushed {
                return Some(transmit);
            }
        }
        None
    }

    fn direct_of(&mut self, attempt: u32) -> Option<&mut DirectLeg> {
        self.direct.as_mut().filter(|direct| direct.attempt == attempt)
    }
}
