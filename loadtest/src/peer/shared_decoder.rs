//! Decoded once, heard by many.

use std::sync::Arc;

use duocast_client::audio::{AudioError, Channels, Decode, Decoder, FRAME_SAMPLES, Undecodable};

use super::Speech;

/// Frames in a row that must come out the same, sample for sample, before a listener's own decoder is taken for one that has heard all. Higher
/// decodes more, lower trusts a chance.
const SAME_FRAMES: u32 = 10;

/// Frames that a decoder is given that has to be where the shared one is: Opus remembers little of what is longer ago. Higher is nearer to it, lower
/// stops its thread for a shorter time, at 40 µs each: a hundred listeners that all miss the same moment have theirs stand still for 40 ms.
const FRAMES_AGAIN: usize = 10;

/// Opus for one listener of the shared speech. As long as the speech comes packet by packet as it was sent, what a decoder would give is known,
/// sample for sample, and is copied. With the first packet that is missing, late, or not what was sent, a decoder of its own goes on from there,
/// until what it gives has been the same again for [`SAME_FRAMES`].
pub(crate) struct SharedDecoder {
    speech: Arc<Speech>,
    own: Decoder,
    place: Place,
    /// Somebody has a use for the samples.
    is_heard: bool,
}

/// Where in the speech a listener is.
#[derive(Clone, Copy)]
enum Place {
    /// Its own decoder is in use. The number of the next packet, if it is known, and how many frames came out as the shared ones.
    Own { next: Option<usize>, same: u32 },
    /// The number of the next packet. Its own decoder has not heard what came before.
    Shared { next: usize },
}

impl SharedDecoder {
    /// Mono, and has heard nothing yet. Where the samples go to nobody (`is_heard` is false) those that are known are not copied: what is in their place
    /// is whatever was there before.
    pub(crate) fn new(speech: Arc<Speech>, is_heard: bool) -> Result<Self, AudioError> {
        let own = Decoder::new(Channels::Mono)?;
        Ok(Self { speech, own, place: Place::Own { next: None, same: 0 }, is_heard })
    }

    /// Goes on with its own decoder: brings it to where the shared one is.
    fn leave(&mut self) {
        let Place::Shared { next } = self.place else { return };
        self.place = Place::Own { next: None, same: 0 };
        // A decoder that was made can be reset; if not, it has heard something else before, and nothing worse follows.
        let _ = self.own.start_over();
        let again = FRAMES_AGAIN.min(self.speech.len());
        let mut samples = [0; FRAME_SAMPLES];
        for number in next + self.speech.len() - again..next + self.speech.len() {
            // It was decoded when the speech was made.
            let _ = self.own.decode(self.speech.packet(number as u64), &mut samples);
        }
    }

    fn decode_itself(&mut self, packet: &[u8], samples: &mut [i16]) -> Result<usize, Undecodable> {
        let count = self.own.decode(packet, samples)?;
        let Place::Own { next, same } = self.place else { return Ok(count) };
        let number = next
            .filter(|number| self.speech.is_packet(*number, packet))
            .or_else(|| self.speech.number_of(packet));
        let is_same = number.is_some_and(|number| samples.get(..count) == self.speech.heard(number));
        let same = if is_same { same + 1 } else { 0 };
        let next = number.map(|number| (number + 1) % self.speech.len());
        self.place = match next {
            Some(next) if same >= SAME_FRAMES => Place::Shared { next },
            next => Place::Own { next, same },
        };
        Ok(count)
    }
}

impl Decode for SharedDecoder {
    fn decode(&mut self, packet: &[u8], samples: &mut [i16]) -> Result<usize, Undecodable> {
        if let Place::Shared { next } = self.place {
            if self.speech.is_packet(next, packet)
                && let Some((heard, room)) =
                    self.speech.heard(next).and_then(|heard| Some((heard, samples.get_mut(..heard.len())?)))
            {
                if self.is_heard {
                    room.copy_from_slice(heard);
                }
                self.place = Place::Shared { next: (next + 1) % self.speech.len() };
                return Ok(heard.len());
            }
            self.leave();
        }
        self.decode_itself(packet, samples)
    }

    fn recover(&mut self, next: &[u8], samples: &mut [i16]) -> Result<usize, Undecodable> {
        self.leave();
        self.place = Place::Own { next: None, same: 0 };
        self.own.recover(next, samples)
    }

    fn conceal(&mut self, samples: &mut [i16]) -> Result<usize, Undecodable> {
        self.leave();
        self.place = Place::Own { next: None, same: 0 };
        self.own.conceal(samples)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use duocast_client::media::mark;

    use super::*;

    fn speech() -> Arc<Speech> {
        static SPEECH: OnceLock<Arc<Speech>> = OnceLock::new();
        Arc::clone(SPEECH.get_or_init(|| Arc::new(Speech::encode(None).unwrap())))
    }

    /// A listener with a shared decoder beside one that decodes all by itself.
    struct Pair {
        speech: Arc<Speech>,
        shared: SharedDecoder,
        alone: Decoder,
        /// How far the two were apart, frame by frame: the largest difference of two samples.
        apart: Vec<u16>,
        /// Packets that the first one may have copied.
        copied: usize,
    }

    impl Pair {
        fn new() -> Self {
            let shared = SharedDecoder::new(speech(), true).unwrap();
            Self {
                speech: speech(),
                shared,
                alone: Decoder::new(Channels::Mono).unwrap(),
                apart: Vec::new(),
                copied: 0,
            }
        }

        fn both(&mut self, decode: impl Fn(&mut dyn Decode, &mut [i16]) -> Result<usize, Undecodable>) {
            let (mut a, mut b) = ([0; FRAME_SAMPLES], [0; FRAME_SAMPLES]);
            let counts =
                [decode(&mut self.shared, &mut a).unwrap(), decode(&mut self.alone, &mut b).unwrap()];
            assert_eq!(counts, [FRAME_SAMPLES; 2]);
            self.apart.push(a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b)).max().unwrap());
        }

        fn hear(&mut self, number: u64) {
            let mut marked = Vec::new();
            self.speech.append_packet(number, 1_700_000_000_000_000 + number, &mut marked);
            assert!(mark::read(&marked).is_some());
            self.copied += usize::from(matches!(self.shared.place, Place::Shared { .. }));
            self.both(|decoder, samples| decoder.decode(&marked, samples));
        }

        fn lose(&mut self) {
            self.both(|decoder, samples| decoder.conceal(samples));
        }

        /// Loses the packet, and has the one after it.
        fn recover(&mut self, number: u64) {
            let next = self.speech.packet(number + 1).clone();
            self.both(|decoder, samples| decoder.recover(&next, samples));
        }
    }

    #[test]
    fn speech_that_comes_whole_sounds_as_if_decoded_and_is_hardly_decoded_at_all() {
        let mut pair = Pair::new();
        (0..3_000).for_each(|n| pair.hear(n));
        assert!(pair.apart.iter().all(|apart| *apart == 0), "not a sample differs");
        assert!(pair.copied > 2_550, "{} of 3000", pair.copied);
    }

    #[test]
    fn who_comes_late_finds_its_place() {
        let mut pair = Pair::new();
        (1_234..4_000).for_each(|n| pair.hear(n));
        assert!(pair.apart.iter().all(|apart| *apart == 0));
        assert!(pair.copied > 2_300, "{} of 2766", pair.copied);
    }

    #[test]
    fn what_is_lost_is_made_up_as_by_a_decoder_that_has_heard_all_before() {
        let mut pair = Pair::new();
        for n in 0..6_000 {
            match n % 700 {
                500 => pair.lose(),
                600 => pair.recover(n),
                _ => pair.hear(n),
            }
        }
        let most = pair.apart.iter().max().unwrap();
        assert!(*most <= 300, "of 32,768: {most}");
        assert!((2_000..5_500).contains(&pair.copied), "{}: it left, and came back", pair.copied);
    }

    #[test]
    fn what_was_changed_on_the_way_is_decoded() {
        let mut pair = Pair::new();
        (0..1_000).for_each(|n| pair.hear(n));
        assert!(matches!(pair.shared.place, Place::Shared { next: 200 }));
        let mut packet = pair.speech.packet(1_000).to_vec();
        let middle = packet.len() / 2;
        packet[middle] ^= 0xff;
        pair.both(|decoder, samples| decoder.decode(&packet, samples));
        assert!(matches!(pair.shared.place, Place::Own { same: 0, .. }));
        assert!(pair.apart.iter().all(|apart| *apart <= 300), "it sounds as changed as it is");
    }
}
