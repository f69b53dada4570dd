"""PESQ, STOI, SI-SDR: against published points, a plain loop, and input that cannot be scored."""

import builtins
from math import exp, isnan, log10

import numpy as np
import pytest

from avsr.scoring import speech
from avsr.scoring.report import Run, write_report
from avsr.scoring.results import Provenance, read_csv, write_scores
from avsr.scoring.speech import METRICS, have_pesq, raw_pesq, score_utterance, si_sdr
from avsr.scoring.tables import System

needs_pesq = pytest.mark.skipif(not have_pesq(), reason="package pesq is not installed (no C compiler)")


def speech_like(seconds: float = 3.0, seed: int = 0) -> np.ndarray:
    """Noise under a syllable-like envelope with pauses."""
    n = int(16000 * seconds)
    rng = np.random.default_rng(seed)
    envelope = np.clip(np.sin(2 * np.pi * 3 * np.arange(n) / 16000), 0, None)
    return (0.1 * envelope * np.cumsum(rng.standard_normal(n)) / 20).astype(np.float32)


@pytest.mark.parametrize("raw", [-0.4, 0.0, 1.03, 2.72, 4.4])
def test_raw_pesq_undoes_the_map_of_p862_1(raw):
    assert raw_pesq(0.999 + 4.0 / (1.0 + exp(-1.4945 * raw + 4.6607))) == pytest.approx(raw, abs=1e-9)


def test_raw_pesq_ends_at_the_range_that_the_paper_names():
    # ITU-T P.862.1 gives 1.017 and 4.549 as the ends of MOS-LQO for raw scores from -0.5 to 4.5.
    assert raw_pesq(1.0) == pytest.approx(-0.5, abs=0.03)
    assert raw_pesq(4.7) == pytest.approx(4.5, abs=0.01)


@needs_pesq
def test_a_copy_scores_the_most_and_noise_lowers_every_metric():
    clean = speech_like()
    noise = np.random.default_rng(1).standard_normal(len(clean)).astype(np.float32)
    copy, better, worse = (score_utterance(clean, clean + gain * noise) for gain in (0.0, 0.003, 0.03))
    assert copy["pesq_raw"] == pytest.approx(4.5, abs=0.01) and copy["pesq_wb"] == pytest.approx(4.64, abs=0.01)
    assert copy["stoi"] == pytest.approx(100) and copy["estoi"] == pytest.approx(100) and copy["si_sdr"] == 100
    for name in METRICS:
        assert copy[name] > better[name] > worse[name], name
    assert "reason" not in copy


def test_si_sdr_equals_a_plain_loop_in_float64():
    rng = np.random.default_rng(2)
    clean, estimate = rng.standard_normal(400) + 0.3, rng.standard_normal(400) - 0.7
    estimate += 0.5 * clean
    mean_c, mean_e = sum(map(float, clean)) / 400, sum(map(float, estimate)) / 400
    dot = power = 0.0
    for c, e in zip(clean, estimate, strict=True):
        dot += (c - mean_c) * (e - mean_e)
        power += (c - mean_c) ** 2
    target = distortion = 0.0
    for c, e in zip(clean, estimate, strict=True):
        part = dot / power * (c - mean_c)
        target += part**2
        distortion += (e - mean_e - part) ** 2
    expected = 10 * log10(target / distortion)
    assert si_sdr(clean, estimate) == pytest.approx(expected, abs=1e-9)
    assert si_sdr(clean, 7.0 * estimate + 3.0) == pytest.approx(expected, abs=1e-9)  # scale and offset do not matter


def test_si_sdr_of_orthogonal_noise_is_its_snr():
    time = np.arange(16000) / 16000
    tone, other = np.sin(2 * np.pi * 100 * time), np.sin(2 * np.pi * 200 * time)
    assert si_sdr(tone, tone + 0.1 * other) == pytest.approx(20.0, abs=1e-6)


def test_estoi_is_the_same_to_the_bit_and_leaves_the_global_generator_alone():
    clean = speech_like(2.0)
    noisy = clean + 0.01 * np.random.default_rng(3).standard_normal(len(clean))
    np.random.seed(5)
    first = score_utterance(clean, noisy)
    after = np.random.random()
    np.random.seed(5)
    assert np.random.random() == after
    np.random.seed(6)
    assert score_utterance(clean, noisy) == first


@pytest.mark.parametrize("side", ["clean speech", "estimate"])
def test_silence_is_not_scored_and_says_so(side):
    sound, silence = speech_like(), np.zeros(48000, np.float32)
    scores = score_utterance(silence, sound) if side == "clean speech" else score_utterance(sound, silence)
    assert all(isnan(scores[name]) for name in METRICS)
    assert scores["reason"].count(f"{side} is silent") == (5 if have_pesq() else 3)


@needs_pesq
def test_an_estimate_of_silence_is_counted_as_not_scored_up_to_the_table(tmp_path):
    clean = speech_like()
    noisy = clean + 0.003 * np.random.default_rng(1).standard_normal(len(clean)).astype(np.float32)
    rows = {"s1-a": score_utterance(clean, noisy), "s1-b": score_utterance(clean, np.zeros_like(clean))}
    origin = Provenance("mini", "tiny", "./run.sh", "abc1234", "best.pt", "0123456789ab")
    write_scores(tmp_path / "exp/mhca_avcrn/seed0/speech_-5dB/scores.tsv", rows, origin)
    system = System("mhca_avcrn", "MHCA-AVCRN", "enhance")
    write_report(tmp_path, Run("mini", "mini", "tiny", True, (system,)))
    table = (tmp_path / "RESULTS.md").read_text().split("### Enhancement: PESQ")[1].split("###")[0]
    row = next(line for line in table.splitlines() if line.startswith("| MHCA-AVCRN |"))
    assert f"{rows['s1-a']['pesq_raw']:.2f} (1/2)" in row  # the one that could be scored, of two
    found = {line["metric"]: line for line in read_csv(tmp_path / "results.csv")}
    assert {(found[name]["scored"], found[name]["total"]) for name in METRICS} == {("1", "2")}


@needs_pesq
def test_what_pesq_itself_refuses_is_not_scored_and_says_so():
    almost = np.zeros(48000)
    almost[24000] = 1e-30
    scores = score_utterance(almost, speech_like())
    assert isnan(scores["pesq_raw"]) and isnan(scores["pesq_wb"])
    assert "pesq_raw: No utterances detected" in scores["reason"]


@pytest.mark.parametrize("n", [2, 100, 3000])
def test_too_short_is_not_scored_and_says_so(n):
    clean = np.random.default_rng(4).standard_normal(n)
    scores = score_utterance(clean, clean + 0.1 * clean[::-1])
    assert isnan(scores["stoi"]) and isnan(scores["pesq_raw"]) and not isnan(scores["si_sdr"])
    assert "stoi: too short" in scores["reason"]


def test_nan_is_not_scored():
    clean = speech_like()
    broken = clean.copy()
    broken[5] = np.nan
    assert "estimate holds NaN" in score_utterance(clean, broken)["reason"]


def test_unequal_lengths_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="equally long"):
        score_utterance(np.ones(100), np.ones(101))


def test_without_the_package_every_pesq_says_no_pesq(monkeypatch):
    real = builtins.__import__

    def blocked(name, *args, **kwargs):
        if name == "pesq":
            raise ImportError("blocked by the test")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    assert not speech.have_pesq()
    clean = speech_like()
    for estimate in (clean, np.zeros_like(clean)):
        scores = score_utterance(clean, estimate)
        assert isnan(scores["pesq_raw"]) and isnan(scores["pesq_wb"])
        assert "pesq_raw: no pesq; pesq_wb: no pesq" in scores["reason"]
    assert score_utterance(clean, clean)["stoi"] == pytest.approx(100)
