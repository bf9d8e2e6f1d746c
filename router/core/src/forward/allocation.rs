//! What a viewer gets of each picture that it views, as far as its path carries it.

use super::layers::{Choice, Layer};

/// Something larger is chosen only if there is so much more room than it takes now. Higher leaves room unused, lower changes to and fro where
/// rates do.
pub(super) const HEADROOM: f64 = 1.1;
/// What was chosen is kept until it takes so much more than there is room. Higher keeps queues, lower changes to and fro.
const TOLERANCE: f64 = 1.05;
/// The smallest picture is left out only if it takes so much more than there is room, and is back once it takes so much more or less: an
/// estimate is low for a while after a path has narrowed, and what is kept for the sound is more than it takes. Higher lets the sound wait, lower
/// leaves viewers without a picture where there is room for a small one.
const SMALLEST: (f64, f64) = (1.4, 1.2);

/// A picture that a viewer views.
#[derive(Debug)]
pub(crate) struct Video {
    /// From little to much; empty while nothing of it comes.
    pub(crate) choices: Vec<Choice>,
    /// What was chosen last; `None`: nothing.
    pub(crate) present: Option<Layer>,
}

/// What to send of each picture, at most; `None`: nothing. `room`: what is left for pictures, in bits per second; `None` if no bound is known. First
/// each gets its smallest choice, in their order, then each more: pictures are small before one of them is missing.
pub(crate) fn choose(room: Option<f64>, videos: &[Video]) -> Vec<Option<Layer>> {
    let Some(room) = room else {
        return videos
            .iter()
            .map(|video| video.choices.last().map_or(video.present, |c| Some(c.layer)))
            .collect();
    };
    let (mut left, mut chosen) = (room, vec![None; videos.len()]);
    for (video, at) in videos.iter().zip(&mut chosen) {
        if let Some(first) = video.choices.first().filter(|first| video.fits_at_all(first, left)) {
            (*at, left) = (Some(0), left - first.bits);
        }
    }
    let mut has_grown = true;
    while has_grown {
        has_grown = false;
        for (video, at) in videos.iter().zip(&mut chosen) {
            let Some(present) = *at else { continue };
            let held = video.choices.get(present).map_or(0.0, |choice| choice.bits);
            let larger = video.choices.iter().enumerate().skip(present + 1);
            // The next that fits, even where one in between does not.
            let next =
                larger.filter(|(_, choice)| video.fits(choice, held, left)).map(|(n, c)| (n, c.bits)).next();
            if let Some((next, bits)) = next {
                (*at, left, has_grown) = (Some(next), left + held - bits, true);
            }
        }
    }
    let layer = |(video, at): (&Video, Option<usize>)| match at {
        Some(at) => video.choices.get(at).map(|choice| choice.layer),
        None if video.choices.is_empty() => video.present,
        None => None,
    };
    videos.iter().zip(chosen).map(layer).collect()
}

impl Video {
    fn fits_at_all(&self, smallest: &Choice, left: f64) -> bool {
        let (kept, resumed) = SMALLEST;
        smallest.bits <= left * if self.present.is_some() { kept } else { resumed }
    }

    /// There is room for a choice in the place of what takes `held`.
    fn fits(&self, choice: &Choice, held: f64, left: f64) -> bool {
        let is_new = self.present.is_none_or(|present| choice.layer > present);
        let needed = if is_new { choice.bits * HEADROOM } else { choice.bits / TOLERANCE };
        needed <= left + held
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn video(present: Option<u8>, bits: &[f64]) -> Video {
        let choice = |(n, bits): (usize, &f64)| Choice { layer: layer(n as u8), bits: *bits };
        Video { choices: bits.iter().enumerate().map(choice).collect(), present: present.map(layer) }
    }

    fn layer(encoding: u8) -> Layer {
        Layer { encoding, ..Layer::ALL }
    }

    const BITS: [f64; 3] = [150e3, 500e3, 1.6e6];

    fn chosen(room: f64, present: Option<u8>) -> Option<u8> {
        choose(Some(room), &[video(present, &BITS)])[0].map(|layer| layer.encoding)
    }

    #[test]
    fn the_largest_that_fits_is_chosen_and_without_a_bound_the_largest() {
        assert_eq!(choose(None, &[video(None, &BITS)]), [Some(layer(2))]);
        assert_eq!((chosen(2e6, None), chosen(1e6, None), chosen(300e3, None)), (Some(2), Some(1), Some(0)));
        assert_eq!(chosen(100e3, Some(2)), None);
    }

    #[test]
    fn what_was_chosen_stays_while_rates_go_up_and_down_a_little() {
        for room in [490e3, 510e3] {
            assert_eq!((chosen(room, Some(1)), chosen(room, Some(0))), (Some(1), Some(0)));
        }
    }

    #[test]
    fn two_pictures_are_both_small_before_one_is_missing() {
        let two = |room| choose(Some(room), &[video(Some(2), &BITS), video(Some(2), &BITS)]);
        assert_eq!(two(310e3), [Some(layer(0)), Some(layer(0))]);
        assert_eq!(two(160e3), [Some(layer(0)), None]);
        assert_eq!(two(700e3), [Some(layer(1)), Some(layer(0))]);
    }

    #[test]
    fn who_sends_nothing_now_is_left_as_it_was() {
        assert_eq!(choose(Some(0.0), &[video(Some(1), &[])]), [Some(layer(1))]);
        assert_eq!(choose(None, &[video(None, &[])]), [None]);
    }

    proptest! {
        #[test]
        fn what_is_chosen_fits(
            room in 0.0..3e6_f64,
            present in proptest::option::of(0_u8..3),
            bits in proptest::collection::vec(proptest::collection::vec(0.0..1e6_f64, 0..4), 0..4),
        ) {
            let videos: Vec<Video> = bits.iter().map(|bits| video(present, bits)).collect();
            let chosen = choose(Some(room), &videos);
            let taken: f64 = videos.iter().zip(&chosen).filter_map(|(video, chosen)| {
                let chosen = video.choices.iter().find(|choice| Some(choice.layer) == *chosen)?;
                Some(chosen.bits)
            }).sum();
            prop_assert!(taken <= room * SMALLEST.0 + 1.0);
        }
    }
}
