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


class Seamed(torch.nn.Module):
    """Halves what it hears; at the edges of slices a quarter is left."""

    mel_set, video_input, frame_multiple = "mel_slaney", None, 5

    def estimate(self, noisy_btf, video, frames_b):
        gain_t = torch.full((noisy_btf.shape[1],), 0.5)
        gain_t[0::20] = gain_t[19::20] = 0.25
        return noisy_btf * gain_t[:, None]


def test_seams_are_measured_with_the_quality_and_not_in_babble(work, monkeypatch):
    monkeypatch.setattr(checkpoint, "load_model", lambda path, device, system: (Seamed(), {}))
    name = "natural_-5dB"
    for kind, row in (("enhance", "vse"), ("unprocessed", "unprocessed"), ("oracle", "oracle")):
        run_job(ScoreJob(row, kind, 0, name, work, work / "best.pt", ORIGIN))
    run_job(ScoreJob("unprocessed", "unprocessed", 0, BABBLE, work, None, ORIGIN))
    folder = work / "exp/vse/seed0" / name
    mixer, scores = ListMixer(work / f"data/test_noisy/{name}.jsonl", work, "test"), read_scores(folder / "scores.tsv")
    lines = [line.split("\t") for line in (folder / "seams.tsv").read_text().splitlines()]
    assert lines[0] == ["utt", *map(str, range(20))] and [line[0] for line in lines[1:]] == list(scores.utts)
    for place, utt in enumerate(scores.utts):
        noisy_tf, clean_tf = (np.float64(mel(wave_n, "mel_slaney")) for wave_n in mixer.mixture(utt))
        errors = []
        for position in range(20):
            gain = 0.25 if position in (0, 19) else 0.5
            frames = range(position, len(noisy_tf), 20)
            frames = [t for t in frames if 0 < t < len(noisy_tf) - 1]  # its ends lie at no seam
            made, true = (np.maximum(m[frames], 1e-5) for m in (gain * noisy_tf, clean_tf))
            errors.append(np.mean((20 * np.log10(made / true)) ** 2))
        assert scores.columns["seam_edge"][place] == pytest.approx((errors[0] + errors[19]) / 2, rel=1e-4)
        assert scores.columns["seam_inner"][place] == pytest.approx(np.mean(errors[5:15]), rel=1e-4)
        assert [float(cell) for cell in lines[1 + place][1:]] == pytest.approx(errors, rel=1e-4)
    beside = work / "exp/unprocessed/seed0"
    assert {"seam_edge", "seam_inner", "stoi"} <= set(read_scores(beside / name / "scores.tsv").columns)
    for other in (work / "exp/oracle/seed0" / name, beside / BABBLE):
        assert "seam_edge" not in read_scores(other / "scores.tsv").columns and not (other / "seams.tsv").exists()
