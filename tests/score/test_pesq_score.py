"""The score must tell clean speech from spoiled speech, wherever the speech begins. Run: python -m unittest -v"""

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

    def run_tool(self, rec, least="3.5"):
        tool = [sys.executable, HERE / "pesq_score.py", self.speech, rec, "--min", least]
        return subprocess.run(tool, capture_output=True, text=True)

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


if __name__ == "__main__":
    unittest.main()
