"""What single measurements of stage 9 are: the best mask, words of a lip reader, babble on the central frames."""

import numpy as np
import pytest
import torch

from avsr.features.mel import mel
from avsr.noise.sampler import ListMixer
from avsr.scoring.energy import energy_error
from avsr.scoring.results import Provenance, read_scores
from avsr.stages.score_jobs import ScoreJob, run_job
from avsr.training import checkpoint
from avsr.training.tasks.words import word_list
from tests.stages.tiny import SENTENCES, make_work

ORIGIN = Provenance("toy", "none", "./run.sh", "abc")
BABBLE = "babble_-5dB"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder after stage 4: four test utterances of 30 pictures."""
    return make_work(tmp_path_factory.mktemp("work"), clips=2, frames=30)


@pytest.fixture(scope="module")
def mixer(work):
    return ListMixer(work / f"data/test_noisy/{BABBLE}.jsonl", work, "test")


def test_no_mask_has_a_smaller_error_than_the_best_one(work, mixer):
    job = ScoreJob("oracle_mask", "oracle_mask", 0, BABBLE, work, None, ORIGIN)
    run_job(job)
    scores, draw = read_scores(job.scores), np.random.default_rng(0)
    for place, utt in enumerate(scores.utts):
        noisy_tf, clean_tf = (mel(wave_n, "mel_htk") for wave_n in mixer.mixture(utt))
        best_tf = np.minimum(clean_tf / np.maximum(noisy_tf, 1e-12), 1.0)
        for name, power in (("energy_linear", 1.0), ("energy_sqrt", 0.5)):
            found = scores.columns[name][place]
            assert found == pytest.approx(energy_error(best_tf * noisy_tf, clean_tf, power), abs=1e-3)
            assert 0 < found < energy_error(noisy_tf, clean_tf, power)
            for _ in range(5):
                other_tf = np.clip(best_tf + 0.1 * draw.standard_normal(best_tf.shape), 0, 1)
                assert found < energy_error(other_tf * noisy_tf, clean_tf, power)


class Reader:
    """A lip reader that takes every word for the same one."""

    final_head, choice = "recurrent", 3

    def logits(self, crop, frames, head):
        return torch.nn.functional.one_hot(torch.full((len(crop),), self.choice), 30).float()


def test_what_each_word_is_taken_for_lies_beside_the_scores(work, monkeypatch):
    content = {"config": {"system": {"options": {"window": 9}}, "train": {}}, "position": {"phase": 0}}
    monkeypatch.setattr(checkpoint, "load_model", lambda path, device, system: (Reader(), content))
    job = ScoreJob("p3d50", "lipread", 0, "words", work, work / "best.pt", ORIGIN)
    run_job(job)
    scores = read_scores(job.scores)
    lines = [line.split("\t") for line in (job.folder / "words.tsv").read_text().splitlines()]
    assert lines[0] == ["utt", "word", "taken_for"] and [line[0] for line in lines[1:]] == list(scores.utts)
    first = [line[1] for line in lines if line[0].startswith("s5-c0.")]
    assert first == SENTENCES[0].split()  # in the order of the sentence
    assert {line[2] for line in lines[1:]} == {word_list(work)[Reader.choice]}
    assert [float(line[1] == line[2]) for line in lines[1:]] == scores.columns["top1"].tolist()
    assert job.done()
    (job.folder / "words.tsv").unlink()
    assert not job.done()


def test_babble_on_the_central_frames_alone(mixer):
    for utt in mixer.rows:
        noisy_n, clean_n = mixer.central(utt, 6400)
        whole_n, whole_clean_n = mixer.mixture(utt)
        factor = np.linalg.norm(clean_n) / np.linalg.norm(whole_clean_n)  # the level is that of the mixture
        expected_n = np.zeros(len(noisy_n))
        first = (len(noisy_n) - 6400) // 2
        expected_n[first : first + 6400] = factor * (whole_n - whole_clean_n)[first : first + 6400]
        np.testing.assert_allclose(noisy_n - clean_n, expected_n, atol=1e-5)
        assert np.sqrt(np.mean(noisy_n**2)) == pytest.approx(0.05, rel=1e-4)
    short_n, _ = mixer.central(utt, 10**6)  # a clip that is shorter is noisy all over
    np.testing.assert_array_equal(short_n, mixer.mixture(utt)[0])
