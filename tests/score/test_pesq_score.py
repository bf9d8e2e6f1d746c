"""The score must tell clean speech from spoiled speech, wherever the speech begins. Run: python -m unittest -v"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import soundfile

import pesq_score

HERE = pathlib.Path(__file__).parent


class Scoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.speech = f"{cls.folder.name}/speech.wav"
        subprocess.run([HERE / "speech.sh", cls.speech], check=True)
        cls.samples, cls.rate = soundfile.read(cls.speech)
        cls.noise = np.random.default_rng(7)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def write(self, samples, rate=None):
        path = f"{self.folder.name}/{self.id()}.wav"
        soundfile.write(path, np.clip(samples, -1, 1), rate or self.rate)
        return path

    def late(self, samples, seconds=1.234):
        silence = self.noise.normal(0, 1e-4, int(seconds * self.rate))
        return np.concatenate([silence, samples, silence])

    def run_tool(self, rec, *judged):
        tool = [sys.executable, HERE / "pesq_score.py", self.speech, rec, *(judged or ("--min", "3.5"))]
        return subprocess.run(tool, capture_output=True, text=True)

    def heard(self, samples):
        """The share of parts that are heard in `samples`."""
        heard, spoken = pesq_score.parts_heard(pesq_score.read(self.speech), pesq_score.read(self.write(self.late(samples))))
        return heard / spoken

    def test_clean_speech_that_begins_late_passes(self):
        run = self.run_tool(self.write(self.late(self.samples)))
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("delay 1.23 s", run.stdout)

    def test_quieter_speech_passes(self):
        self.assertEqual(self.run_tool(self.write(self.late(self.samples * 0.25))).returncode, 0)

    def test_noisy_speech_fails(self):
        noisy = self.samples + self.noise.normal(0, 0.02, len(self.samples))
        run = self.run_tool(self.write(self.late(noisy)))
        self.assertEqual(run.returncode, 1, run.stdout)
        self.assertIn("is below 3.50", run.stderr)

    def test_speech_with_gaps_fails(self):
        # 60 ms of every 400 ms are missing, as with lost packets that nobody concealed.
        gaps = (np.arange(len(self.samples)) % int(0.4 * self.rate)) > 0.06 * self.rate
        self.assertEqual(self.run_tool(self.write(self.late(self.samples * gaps))).returncode, 1)

    def test_speech_through_a_telephone_fails(self):
        narrow = pesq_score.resample_poly(self.samples, 1, 6)
        self.assertEqual(self.run_tool(self.write(self.late(pesq_score.resample_poly(narrow, 6, 1)))).returncode, 1)

    def test_silence_is_no_recording_of_it(self):
        run = self.run_tool(self.write(self.late(self.samples * 0)))
        self.assertEqual(run.returncode, 2, run.stdout)
        self.assertIn("does not occur", run.stderr)

    def test_a_recording_that_was_cut_off_is_told_apart(self):
        run = self.run_tool(self.write(self.samples[: self.rate]))
        self.assertEqual(run.returncode, 2, run.stdout)
        self.assertIn("shorter than the reference", run.stderr)

    def test_the_best_of_several_repetitions_counts(self):
        spoiled = self.samples + self.noise.normal(0, 0.05, len(self.samples))
        run = self.run_tool(self.write(np.concatenate([spoiled, self.samples, spoiled])))
        self.assertEqual(run.returncode, 0, run.stderr)

    def stretched(self, every=1.0):
        """As a jitter buffer plays it where packets get lost: a pitch period or two left out or said twice, now and then."""
        parts, at = [], 0
        while at < len(self.samples):
            size = int(self.noise.exponential(every) * self.rate) + 1200
            shift = int(self.noise.uniform(0.0025, 0.01) * self.rate)
            parts.append(self.samples[at : at + size])
            at += size
            if self.noise.random() < 0.5:
                at += shift
            else:
                parts.append(self.samples[max(at - shift, 0) : at])
        return np.concatenate(parts)

    def test_speech_that_a_jitter_buffer_stretched_is_found(self):
        for _ in range(3):
            run = self.run_tool(self.write(self.late(self.stretched())), "--min", "2.5")
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_another_voice_is_no_recording_of_it(self):
        other = f"{self.folder.name}/other.wav"
        subprocess.run([HERE / "speech.sh", other, "female"], check=True)
        run = self.run_tool(self.write(self.late(soundfile.read(other)[0])))
        self.assertEqual(run.returncode, 2, run.stdout)

    def test_each_whole_repetition_is_scored(self):
        noisy = self.samples + self.noise.normal(0, 0.02, len(self.samples))
        run = self.run_tool(self.write(np.concatenate([self.samples[self.rate :], noisy, self.samples, self.samples[: self.rate]])), "--each")
        self.assertEqual(run.returncode, 0, run.stderr)
        first, second = json.loads(run.stdout)
        self.assertTrue(first["pesq_wb"] < 2 < 4 < second["pesq_wb"], run.stdout)
        self.assertAlmostEqual(second["delay_s"] - first["delay_s"], len(self.samples) / self.rate, delta=0.01)

    def test_parts_of_speech_that_was_cut_now_and_then_are_heard(self):
        # The machine stands still for 100 ms every 2.7 s.
        cuts = np.split(self.samples, np.arange(1, 4) * int(2.7 * self.rate))
        cut = np.concatenate([part[int(0.1 * self.rate) :] for part in cuts])
        run = self.run_tool(self.write(self.late(cut)), "--parts", "0.5")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_parts_of_what_was_not_carried_well_are_not_heard(self):
        slow = np.interp(np.arange(0, len(self.samples), 0.98), np.arange(len(self.samples)), self.samples)
        frames = self.samples[: len(self.samples) // 960 * 960].reshape(-1, 2, 480)
        other = f"{self.folder.name}/other.wav"
        subprocess.run([HERE / "speech.sh", other, "female"], check=True)
        spoiled = {
            "a wrong rate": slow,
            "frames in a wrong order": frames[:, ::-1].ravel(),
            "another voice": soundfile.read(other)[0],
            "silence": self.samples * 0,
        }
        for name, samples in spoiled.items():
            self.assertLess(self.heard(samples), 0.3, name)

    def test_too_few_parts_fail(self):
        run = self.run_tool(self.write(self.samples[: 3 * self.rate]), "--parts", "0.5")
        self.assertEqual(run.returncode, 1, run.stdout)
        self.assertIn("never whole", run.stdout)
        self.assertIn("less than 50%", run.stderr)


if __name__ == "__main__":
    unittest.main()
