//! What one viewer is sent of a picture's layers: it changes only where the viewer's decoder can follow.

use super::SourceId;
use super::layers::Layer;
use duocast_media::Frame;

/// One viewer's place in a publisher's layers.
#[derive(Debug)]
pub(crate) struct Selector {
    /// The most that it is to be sent; `None`: nothing.
    target: Option<Layer>,
    /// What it is being sent; `None`: it waits for a key frame.
    current: Option<Current>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    source: SourceId,
    /// Up to here, in the present picture.
    layer: Layer,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass {
        /// A stream begins with it that does not go on from the one before.
        begins: bool,
        /// It is the last of what the viewer is sent of its picture.
        is_last: bool,
    },
    /// It is left out of a stream that goes on.
    LeaveOut,
    /// It is of a stream that the viewer is not sent.
    Ignore,
}

impl Default for Selector {
    fn default() -> Self {
        Self { target: Some(Layer::ALL), current: None }
    }
}

impl Selector {
    /// What is to be sent, at most.
    pub(crate) fn target(&self) -> Option<Layer> {
        self.target
    }

    /// From now on this is to be sent at most, as soon as the decoder can follow. `is_urgent`: the viewer's path does not carry what it is sent now;
    /// then that ends here.
    pub(crate) fn aim(&mut self, target: Option<Layer>, is_urgent: bool) {
        self.target = target;
        let is_above = |current: &Current| match target {
            Some(target) => {
                let (sent, target) = (current.layer, target);
                is_urgent && (sent.encoding, sent.spatial) > (target.encoding, target.spatial)
            }
            None => true,
        };
        self.current = self.current.filter(|current| !is_above(current));
    }

    /// What the viewer was sent does not go on: it needs a key frame.
    pub(crate) fn restart(&mut self) {
        self.current = None;
    }

    /// The encoding whose key frame the viewer needs when it asks for one: of what it is really being sent.
    pub(crate) fn encoding(&self) -> Option<u8> {
        self.current.map(|current| current.layer).or(self.target).map(|layer| layer.encoding)
    }

    /// What it is being sent, up to here.
    pub(crate) fn sent(&self) -> Option<Layer> {
        self.current.map(|current| current.layer)
    }

    /// A key frame of this encoding would be of use.
    pub(crate) fn awaits(&self, encoding: u8) -> bool {
        let Some(target) = self.target.filter(|target| target.encoding == encoding) else { return false };
        self.current.is_none_or(|current| {
            current.layer.encoding != encoding || current.layer.spatial < target.spatial
        })
    }

    /// A packet of a publisher that has no layers: all of it goes on.
    pub(crate) fn follow(&mut self, source: SourceId) {
        if self.current.is_none_or(|current| current.source != source) {
            self.current = Some(Current { source, layer: Layer { encoding: 0, ..Layer::ALL } });
        }
    }

    /// What becomes of a packet.
    pub(crate) fn decide(&mut self, source: SourceId, encoding: u8, frame: &Frame) -> Verdict {
        let Some(target) = self.target else { return Verdict::Ignore };
        match &mut self.current {
            Some(current) if current.source == source => {
                current.turn(target, frame);
                current.judge(frame, false)
            }
            present => {
                let before = present.map(|current| current.layer.encoding);
                if !(frame.is_start && frame.is_key && is_welcome(encoding, target.encoding, before)) {
                    return Verdict::Ignore;
                }
                let layer =
                    if encoding == target.encoding { target } else { Layer { encoding, ..Layer::ALL } };
                present.insert(Current { source, layer }).judge(frame, true)
            }
        }
    }
}

/// Whether the viewer changes to a key frame of this encoding: to what it is to have, or to what is nearer to it.
fn is_welcome(encoding: u8, target: u8, before: Option<u8>) -> bool {
    match before {
        _ if encoding == target => true,
        None => encoding < target,
        // The publisher began anew under another SSRC.
        Some(before) if before == encoding => true,
        Some(before) => (before.min(target)..before.max(target)).contains(&encoding),
    }
}

impl Current {
    /// Moves towards the target, as far as this frame allows.
    fn turn(&mut self, target: Layer, frame: &Frame) {
        if !(frame.is_start && frame.spatial == 0) {
            return;
        }
        let of_target = self.layer.encoding == target.encoding;
        if frame.is_key {
            self.layer =
                Layer { encoding: self.layer.encoding, ..if of_target { target } else { Layer::ALL } };
        } else if of_target {
            self.layer.spatial = self.layer.spatial.min(target.spatial);
            if target.temporal <= self.layer.temporal {
                self.layer.temporal = target.temporal;
            } else if frame.can_enter && frame.temporal > self.layer.temporal {
                self.layer.temporal = frame.temporal.min(target.temporal);
            }
        }
    }

    fn judge(&self, frame: &Frame, begins: bool) -> Verdict {
        let Layer { spatial, temporal, .. } = self.layer;
        if frame.spatial > spatial || frame.temporal > temporal {
            return Verdict::LeaveOut;
        }
        Verdict::Pass { begins, is_last: frame.is_end && frame.spatial == spatial }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::LegKey;

    const PASSED: Verdict = Verdict::Pass { begins: false, is_last: false };
    const BEGUN: Verdict = Verdict::Pass { begins: true, is_last: false };

    fn source(ssrc: u32) -> SourceId {
        SourceId { leg: LegKey(0), ssrc }
    }

    fn encoding(encoding: u8) -> Layer {
        Layer { encoding, ..Layer::ALL }
    }

    fn key() -> Frame {
        Frame { is_start: true, is_key: true, can_enter: true, ..Frame::default() }
    }

    fn delta() -> Frame {
        Frame { is_start: true, ..Frame::default() }
    }

    fn aimed(target: Layer) -> Selector {
        let mut selector = Selector::default();
        selector.aim(Some(target), false);
        selector
    }

    /// A packet of this encoding, whose SSRC is 100 more.
    fn decide(selector: &mut Selector, encoding: u8, frame: Frame) -> Verdict {
        selector.decide(source(100 + u32::from(encoding)), encoding, &frame)
    }

    #[test]
    fn a_viewer_begins_with_any_key_frame_and_goes_up_to_its_own() {
        let mut selector = aimed(encoding(2));
        assert_eq!(decide(&mut selector, 0, delta()), Verdict::Ignore);
        assert!(selector.awaits(2) && !selector.awaits(0));
        assert_eq!(decide(&mut selector, 0, key()), BEGUN);
        assert_eq!(decide(&mut selector, 2, delta()), Verdict::Ignore);
        assert_eq!((decide(&mut selector, 0, delta()), selector.encoding()), (PASSED, Some(0)));
        assert_eq!(decide(&mut selector, 1, key()), BEGUN, "on the way");
        assert_eq!(decide(&mut selector, 0, key()), Verdict::Ignore, "and not back");
        assert!(selector.awaits(2));
        assert_eq!(decide(&mut selector, 2, key()), BEGUN);
        assert!(!selector.awaits(2));
        assert_eq!(
            (decide(&mut selector, 1, delta()), decide(&mut selector, 2, delta())),
            (Verdict::Ignore, PASSED)
        );
    }

    #[test]
    fn down_it_goes_at_a_key_frame_and_where_that_is_urgent_the_larger_one_ends_at_once() {
        for is_urgent in [false, true] {
            let mut selector = aimed(encoding(2));
            decide(&mut selector, 2, key());
            selector.aim(Some(encoding(0)), is_urgent);
            assert!(selector.awaits(0));
            let meanwhile = decide(&mut selector, 2, delta());
            assert_eq!(meanwhile, if is_urgent { Verdict::Ignore } else { PASSED });
            assert_eq!(decide(&mut selector, 0, delta()), Verdict::Ignore);
            assert_eq!(decide(&mut selector, 0, key()), BEGUN);
            assert_eq!(decide(&mut selector, 2, key()), Verdict::Ignore);
        }
    }

    #[test]
    fn who_is_sent_nothing_waits_for_nothing_and_begins_anew() {
        let mut selector = aimed(encoding(0));
        decide(&mut selector, 0, key());
        selector.aim(None, false);
        assert_eq!(decide(&mut selector, 0, key()), Verdict::Ignore);
        assert!(!selector.awaits(0) && selector.encoding().is_none());
        selector.aim(Some(encoding(0)), false);
        assert_eq!(decide(&mut selector, 0, delta()), Verdict::Ignore);
        assert_eq!(decide(&mut selector, 0, key()), BEGUN);
    }

    #[test]
    fn a_publisher_that_begins_anew_is_followed() {
        let mut selector = aimed(encoding(1));
        decide(&mut selector, 1, key());
        assert_eq!(selector.decide(source(7), 0, &key()), Verdict::Ignore);
        assert_eq!(selector.decide(source(8), 1, &key()), BEGUN);
        selector.restart();
        assert!(selector.awaits(1));
        assert_eq!(selector.decide(source(9), 0, &key()), BEGUN);
    }

    #[test]
    fn a_larger_picture_within_one_stream_takes_a_key_picture_and_a_smaller_one_the_next_picture() {
        let of = |spatial, frame: Frame| Frame { spatial, is_end: true, ..frame };
        let upper = |spatial| Frame { spatial, ..delta() };
        let small = Layer { encoding: 0, spatial: 0, temporal: u8::MAX };
        let mut selector = aimed(small);
        let pass = |begins, is_last| Verdict::Pass { begins, is_last };
        assert_eq!(
            decide(&mut selector, 0, of(0, key())),
            pass(true, true),
            "the picture ends with its only layer"
        );
        assert_eq!(decide(&mut selector, 0, upper(1)), Verdict::LeaveOut);
        selector.aim(Some(Layer { spatial: 1, ..small }), false);
        assert!(selector.awaits(0));
        assert_eq!(decide(&mut selector, 0, of(0, delta())), pass(false, true));
        assert_eq!(decide(&mut selector, 0, upper(1)), Verdict::LeaveOut);
        assert_eq!(decide(&mut selector, 0, of(0, key())), pass(false, false));
        assert_eq!(decide(&mut selector, 0, of(1, upper(1))), pass(false, true));
        assert_eq!(decide(&mut selector, 0, upper(2)), Verdict::LeaveOut);
        assert!(!selector.awaits(0));
        selector.aim(Some(small), false);
        assert_eq!(
            decide(&mut selector, 0, of(1, upper(1))),
            pass(false, true),
            "the present picture is not cut"
        );
        assert_eq!(decide(&mut selector, 0, of(0, delta())), pass(false, true));
        assert_eq!(decide(&mut selector, 0, upper(1)), Verdict::LeaveOut);
        selector.aim(Some(Layer { spatial: 1, ..small }), false);
        decide(&mut selector, 0, of(0, key()));
        selector.aim(Some(small), true);
        assert_eq!(
            decide(&mut selector, 0, of(0, delta())),
            Verdict::Ignore,
            "where that is urgent, it begins anew"
        );
        assert_eq!(decide(&mut selector, 0, of(0, key())), pass(true, true));
    }

    #[test]
    fn more_pictures_a_second_come_from_where_their_layer_can_be_entered() {
        let at = |temporal, can_enter| Frame { temporal, can_enter, ..delta() };
        let slow = Layer { encoding: 0, spatial: u8::MAX, temporal: 0 };
        let mut selector = aimed(slow);
        decide(&mut selector, 0, key());
        assert_eq!(decide(&mut selector, 0, at(1, true)), Verdict::LeaveOut);
        selector.aim(Some(encoding(0)), false);
        assert_eq!(decide(&mut selector, 0, at(1, false)), Verdict::LeaveOut);
        assert_eq!(decide(&mut selector, 0, at(1, true)), PASSED);
        assert_eq!(decide(&mut selector, 0, at(2, false)), Verdict::LeaveOut);
        assert_eq!(decide(&mut selector, 0, at(2, true)), PASSED);
    }
}
