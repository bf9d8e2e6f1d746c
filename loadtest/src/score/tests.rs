use super::*;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Eight seconds of something like syllables: a buzz through a moving resonance, in bursts of a quarter second.
fn speech() -> Vec<i16> {
    let mut state = [0.0; 2];
    let sample = |n: usize| {
        let at = n as f64 / RATE as f64;
        let syllable = (at * 4.0).floor();
        let pitch = 110.0 + 15.0 * (syllable * 1.7).sin();
        let buzz = if (at * pitch).fract() < pitch / RATE as f64 { 1.0 } else { 0.0 };
        let turn = std::f64::consts::TAU * (500.0 + 350.0 * (syllable * 2.3).sin()) / RATE as f64;
        let out = buzz + 1.9 * turn.cos() * state[0] - 0.9 * state[1];
        state = [out, state[0]];
        let is_pause = syllable as usize % 8 == 7;
        let loudness = if is_pause { 0.0 } else { ((at * 4.0).fract() * std::f64::consts::PI).sin() };
        (out * loudness * 4000.0).clamp(-30_000.0, 30_000.0) as i16
    };
    (0..8 * RATE).map(sample).collect()
}

/// The speech twice, `late` samples into a recording with next to no noise.
fn recording(heard: &[i16], late: usize) -> Vec<i16> {
    let mut random = StdRng::seed_from_u64(7);
    let noise: Vec<i16> = (0..late).map(|_| random.random_range(-2..=2)).collect();
    [&noise[..], heard, heard, &noise[..]].concat()
}

/// Frames of 20 ms that are lost by this share, the one before repeated more quietly in their place.
fn lossy(speech: &[i16], share: f64) -> Vec<i16> {
    let mut random = StdRng::seed_from_u64(3);
    let mut heard = speech.to_vec();
    for frame in 1..heard.len() / HOP {
        if random.random_bool(share) {
            for n in frame * HOP..(frame + 1) * HOP {
                heard[n] = heard[n - HOP] / 2;
            }
        }
    }
    heard
}

fn score_of(heard: &[i16]) -> f64 {
    let passages = Reference::new(&speech()).unwrap().passages(&recording(heard, 5333), 0);
    assert_eq!(passages.iter().map(|p| p.begin).collect::<Vec<_>>(), [5333, 5333 + 8 * RATE]);
    passages[0].score
}

#[test]
fn the_same_is_five_wherever_it_begins_and_however_loud_it_is() {
    let speech = speech();
    assert!(score_of(&speech) > 4.99);
    let quiet: Vec<i16> = speech.iter().map(|sample| sample / 4).collect();
    assert!(score_of(&quiet) > 4.95);
}

#[test]
fn more_loss_scores_lower_and_so_does_noise() {
    let speech = speech();
    let scores = [0.0, 0.05, 0.1, 0.2, 0.4].map(|share| score_of(&lossy(&speech, share)));
    assert!(scores.windows(2).all(|pair| pair[1] < pair[0] - 0.05), "{scores:?}");
    let mut random = StdRng::seed_from_u64(5);
    let noisy: Vec<i16> = speech.iter().map(|s| s.saturating_add(random.random_range(-900..900))).collect();
    assert!(score_of(&noisy) < 4.0);
}

#[test]
fn a_frame_that_was_left_out_or_put_in_is_no_loss_of_what_follows() {
    let speech = speech();
    // In the pause, as a jitter buffer would: everything after it comes 60 ms sooner, or later.
    let pause = 15 * RATE / 8;
    let sooner = [&speech[..pause], &speech[pause + 3 * HOP..], &speech[..3 * HOP]].concat();
    let later = [&speech[..pause], &[0; 3 * HOP][..], &speech[pause..speech.len() - 3 * HOP]].concat();
    let reference = Reference::new(&speech).unwrap();
    for heard in [sooner, later] {
        let passages = reference.passages(&recording(&heard, 4000), 0);
        assert!(passages[0].score > 4.6, "{passages:?}");
    }
}

#[test]
fn what_is_not_there_scores_one() {
    let speech = speech();
    let reference = Reference::new(&speech).unwrap();
    let silent = reference.passages(&vec![0; 9 * RATE], 0);
    assert_eq!(silent.first().map(|passage| passage.score), Some(1.0));
    assert!(reference.passages(&speech[..7 * RATE], 0).is_empty(), "it was not said to its end");
}

#[test]
fn who_comes_later_is_asked_for_the_first_whole_passage_only() {
    let speech = speech();
    let reference = Reference::new(&speech).unwrap();
    let begun = -5 * RATE as i64;
    let rest = &speech[5 * RATE..];
    let heard = [rest, &speech, &speech[..2 * RATE]].concat();
    let passages = reference.passages(&heard, begun);
    assert_eq!(passages.len(), 1, "{passages:?}");
    assert!(passages[0].begin == 3 * RATE && passages[0].score > 4.9, "{passages:?}");
    let cut = [rest, &speech[..6 * RATE]].concat();
    assert_eq!(reference.passages(&cut, begun), [], "9 s of it, and no passage is whole");
    let missed = 3 * HOP;
    let nearly = [&speech[missed..], &speech[..RATE]].concat();
    let passages = reference.passages(&nearly, -(missed as i64));
    assert!(
        passages.len() == 1 && passages[0].score > 4.7,
        "only the breath before it is missing: {passages:?}"
    );
}

#[test]
fn the_beginning_of_a_last_passage_is_none() {
    let speech = speech();
    let reference = Reference::new(&speech).unwrap();
    for seconds in [1, 4, 7] {
        let passages = reference.passages(&[&speech, &speech[..seconds * RATE]].concat(), 0);
        assert_eq!(passages.iter().map(|p| p.begin).collect::<Vec<_>>(), [0], "{seconds} s of it");
    }
}

#[test]
fn speech_without_a_voice_cannot_be_compared_with() {
    assert!(Reference::new(&[0; 8 * RATE]).is_none());
    assert!(Reference::new(&speech()[..RATE / 10]).is_none());
}

/// Against ViSQOL 3.3 itself (visqol-python 3.8.0, speech mode with the exponential map) on sentences.wav with frames replaced or noise
/// added: its similarity was 0.986, 0.941 and 0.775 where ours was 0.984, 0.932 and 0.783.
#[test]
fn similarity_becomes_a_score_as_visqol_has_it() {
    for (similarity, visqol) in
        [(1.0, 5.0), (0.986, 4.928), (0.9412, 4.699), (0.7707, 3.826), (0.6015, 2.963)]
    {
        assert!((quality(similarity) - visqol).abs() < 0.01, "{similarity}: {}", quality(similarity));
    }
    assert_eq!(quality(0.1), 1.0);
}
