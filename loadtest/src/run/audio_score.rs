//! The audio score of a sample of receivers: which ones, and what became of the speech in what they recorded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::figure::number;
use super::outcome::CallOutcome;
use super::party::{PartyPlan, Role};
use crate::peer::{LegReport, Recorded, Speech};
use crate::score::{RATE, Reference};

/// Sound around a passage in the file that is written of it, so that others can align it by themselves.
const MARGIN: usize = RATE / 4;

/// Name of the reference in the folder of recordings.
const REFERENCE_FILE: &str = "reference.wav";

/// The speech, as one receiver heard it once.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct AudioScore {
    /// Of the stream, see [`stream_group`].
    pub(crate) group: usize,
    pub(crate) call: usize,
    /// Who heard it.
    pub(crate) party: Role,
    /// When it began, from the start of the run.
    pub(crate) at: Duration,
    /// From 1 to 5.
    pub(crate) score: f64,
    /// The file that it was written to.
    pub(crate) recording: Option<String>,
}

impl AudioScore {
    pub(crate) fn json(&self, group: &str) -> Value {
        json!({
            "group": group, "call": self.call, "party": self.party.to_string(),
            "at_seconds": number(Some(self.at.as_secs_f64())), "score": number(Some(self.score)),
            "recording": self.recording,
        })
    }
}

/// Whose conditions a stream between clients of these groups meets: the receiver's, else the sender's.
pub(crate) fn stream_group(receiver: usize, sender: usize) -> usize {
    if receiver == 0 { sender } else { receiver }
}

/// Has `count` of each group's streams recorded where they are heard, evenly spread over these calls' parties.
pub(crate) fn choose(mut calls: Vec<&mut [PartyPlan]>, count: usize) {
    let mut streams: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for (call, parties) in calls.iter().enumerate() {
        for (party, plan) in parties.iter().enumerate() {
            let Some(sender) = plan.role.hears() else { continue };
            let group = stream_group(plan.group, parties[sender].group);
            streams.entry(group).or_default().push((call, party));
        }
    }
    for streams in streams.values() {
        let count = count.min(streams.len());
        for n in 0..count {
            let (call, party) = streams[n * streams.len() / count];
            calls[call][party].records = true;
        }
    }
}

/// One receiver's recording.
struct Heard {
    group: usize,
    call: usize,
    party: Role,
    recorded: Recorded,
    /// The sample at which the other side began to speak; below 0 if that was before the recording.
    begun: i64,
}

/// Takes the recordings out of the calls and scores every whole passage in them, on all cores. `Err` is a sentence on why
/// nothing could be scored, or a file not be written.
pub(crate) fn score(
    outcomes: &mut [CallOutcome],
    speech: &Speech,
    start: Instant,
    folder: Option<&Path>,
) -> (Vec<AudioScore>, Option<String>) {
    let heard = take(outcomes);
    if heard.is_empty() {
        return (Vec::new(), None);
    }
    let Some(reference) = Reference::new(speech.said()) else {
        let why = "the audio was not scored: nobody speaks in the first 10 s of audio.speech";
        return (Vec::new(), Some(why.into()));
    };
    let written = folder.map_or(Ok(()), |folder| {
        std::fs::create_dir_all(folder)?;
        write(&folder.join(REFERENCE_FILE), reference.part(speech.said()))
    });
    let next = AtomicUsize::new(0);
    let work = || {
        let mut scores = Vec::new();
        while let Some(heard) = heard.get(next.fetch_add(1, Ordering::Relaxed)) {
            scores.extend(score_one(&reference, heard, start, folder));
        }
        scores
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(heard.len());
    let done: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut problem = written.err();
    let mut scores: Vec<AudioScore> = Vec::new();
    for (score, written) in done {
        problem = problem.or(written.err());
        scores.push(score);
    }
    scores.sort_by_key(|score| (score.group, score.call, score.party, score.at));
    let sentence = |error: std::io::Error| format!("the recordings could not all be written: {error}");
    (scores, problem.map(sentence))
}

fn take(outcomes: &mut [CallOutcome]) -> Vec<Heard> {
    let mut heard = Vec::new();
    for outcome in outcomes {
        let spoke = |leg: &LegReport| leg.audio_sent.first_mark();
        let senders: Vec<(usize, Option<u64>)> =
            outcome.parties.iter().map(|party| (party.group, party.leg.as_ref().and_then(spoke))).collect();
        for party in &mut outcome.parties {
            let Some(recorded) = party.leg.as_mut().and_then(|leg| leg.recorded.take()) else { continue };
            // Who says nothing is not heard.
            let Some((sender, Some(spoke))) = party.role.hears().map(|sender| senders[sender]) else {
                continue;
            };
            let micros = spoke as i64 - recorded.from_unix_micros as i64;
            let begun = micros * RATE as i64 / 1_000_000;
            let group = stream_group(party.group, sender);
            heard.push(Heard { group, call: outcome.index, party: party.role, recorded, begun });
        }
    }
    heard
}

fn score_one(
    reference: &Reference,
    heard: &Heard,
    start: Instant,
    folder: Option<&Path>,
) -> Vec<(AudioScore, std::io::Result<()>)> {
    let samples = &heard.recorded.samples;
    let from = heard.recorded.from.saturating_duration_since(start);
    let mut scores = Vec::new();
    for (n, passage) in reference.passages(samples, heard.begun).into_iter().enumerate() {
        let name = format!("{}-{}-{}-{n}.wav", heard.group, heard.call, heard.party);
        let written = folder.map_or(Ok(()), |folder| {
            let until = (passage.begin + reference.len() + MARGIN).min(samples.len());
            write(&folder.join(&name), &samples[passage.begin.saturating_sub(MARGIN)..until])
        });
        let score = AudioScore {
            group: heard.group,
            call: heard.call,
            party: heard.party,
            at: from + Duration::from_secs_f64(passage.begin as f64 / RATE as f64),
            score: passage.score,
            recording: folder.map(|_| name),
        };
        scores.push((score, written));
    }
    scores
}

/// 16 kHz, 16 bit, mono.
fn write(path: &Path, samples: &[i16]) -> std::io::Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE as u32,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let written = (|| {
        let mut file = hound::WavWriter::create(path, spec)?;
        samples.iter().try_for_each(|sample| file.write_sample(*sample))?;
        file.finalize()
    })();
    written.map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &hound::Error) -> std::io::Error {
    std::io::Error::other(format!("{}: {error}", PathBuf::from(path).display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::SentBook;
    use crate::run::outcome::PartyOutcome;

    #[test]
    fn every_groups_streams_are_sampled_evenly_and_no_more_than_asked_for() {
        let groups = [vec![[0, 0]; 20], vec![[1, 0], [0, 1], [2, 0]]].concat();
        let calls: Vec<Vec<PartyPlan>> = groups
            .iter()
            .map(|own| [0, 1].map(|n| PartyPlan { group: own[n], ..PartyPlan::new(Role::PAIR[n]) }).into())
            .collect();
        let chosen = |count: usize| {
            let mut calls = calls.clone();
            choose(calls.iter_mut().map(|parties| &mut parties[..]).collect(), count);
            let recording = calls.iter().enumerate().flat_map(|(call, parties)| {
                let heard = |party: &PartyPlan| party.role.hears().map_or(0, |sender| parties[sender].group);
                let chosen = parties.iter().filter(|party| party.records);
                chosen.map(move |party| (stream_group(party.group, heard(party)), call))
            });
            recording.collect::<Vec<_>>()
        };
        let four = chosen(4);
        assert_eq!([0, 1, 2].map(|group| four.iter().filter(|(of, _)| *of == group).count()), [4, 4, 2]);
        let calls_of_rest: Vec<usize> =
            four.iter().filter(|(group, _)| *group == 0).map(|(_, call)| *call).collect();
        assert_eq!(calls_of_rest, [0, 5, 10, 15]);
        assert_eq!(chosen(0), []);
    }

    #[test]
    fn a_recording_is_scored_where_the_speech_is_in_it_and_written_with_its_reference() {
        let speech = Speech::encode(None).unwrap();
        let start = Instant::now();
        let samples = [&[0; 4000][..], speech.said(), &speech.said()[..2 * RATE]].concat();
        let leg = LegReport {
            recorded: Some(Recorded {
                from: start + Duration::from_secs(3),
                from_unix_micros: 3_000_000,
                samples,
            }),
            ..LegReport::default()
        };
        let mut audio_sent = SentBook::default();
        audio_sent.next_mark(3_200_000);
        let talks = LegReport { audio_sent, ..LegReport::default() };
        let caller = PartyOutcome { leg: Some(talks), ..PartyOutcome::default() };
        let callee = PartyOutcome { role: Role::Callee, group: 2, leg: Some(leg), ..PartyOutcome::default() };
        let call = || CallOutcome {
            index: 7,
            parties: vec![caller.clone(), callee.clone()],
            ..CallOutcome::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let (scores, problem) = score(&mut [call()], &speech, start, Some(folder.path()));
        assert_eq!((problem, scores.len()), (None, 1), "the second passage is not whole");
        let found = &scores[0];
        assert_eq!((found.group, found.call, found.party), (2, 7, Role::Callee));
        assert!(found.score > 4.9 && found.at == Duration::from_millis(3250), "{found:?}");
        let length = |name: &str| hound::WavReader::open(folder.path().join(name)).unwrap().duration();
        assert_eq!(length(REFERENCE_FILE), 8 * RATE as u32);
        assert_eq!(length("2-7-callee-0.wav"), (8 * RATE + 2 * MARGIN) as u32);
        assert_eq!(found.json("far")["recording"], "2-7-callee-0.wav");

        let nowhere = Path::new("/proc/no/such");
        let (scores, problem) = score(&mut [call()], &speech, start, Some(nowhere));
        assert!(scores.len() == 1 && problem.unwrap().starts_with("the recordings could not"));
    }
}
