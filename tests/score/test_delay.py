"""The delay must be the one that speech had, whenever its recordings began. Run: python -m unittest -v"""

import pathlib
import subprocess
import tempfile
import unittest

import numpy as np

import delay
from pesq_score import RATE, read

HERE = pathlib.Path(__file__).parent


class Delays(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([HERE / "speech.sh", f"{folder}/speech.wav"], check=True)
            cls.speech = np.tile(read(f"{folder}/speech.wav"), 2)
        cls.noise = np.random.default_rng(7)

    def heard(self, late, head):
        """What is recorded from `head` seconds on of speech that comes `late`."""
        silence = self.noise.normal(0, 1e-4, RATE)
        return np.concatenate([silence, self.speech, silence])[round((1 - late + head) * RATE) :]

    def test_it_is_found_whenever_the_recordings_began(self):
        for late, head in ((0.05, 0.0), (0.12, 0.3), (0.4, -0.2)):
            found, sought = delay.delays(self.speech, self.heard(late, head), head)
            self.assertAlmostEqual(float(np.median(found)), late, delta=0.001)
            self.assertGreater(len(found), 0.9 * sought)

    def test_a_delay_that_grows_is_its_median(self):
        longer = np.concatenate([self.heard(0.1, 0)[: 12 * RATE], self.heard(0.14, 0)[12 * RATE :]])
        found, _ = delay.delays(self.speech, longer, 0)
        self.assertTrue(0.099 < np.median(found) < 0.141, found)
        self.assertAlmostEqual(max(found), 0.14, delta=0.001)

    def test_what_was_not_heard_has_none(self):
        found, sought = delay.delays(self.speech, self.noise.normal(0, 0.1, len(self.speech)), 0)
        self.assertEqual(found, [])
        self.assertGreater(sought, 10)


if __name__ == "__main__":
    unittest.main()
