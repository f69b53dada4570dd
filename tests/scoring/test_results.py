"""Scores files, bootstrap intervals, paired differences, results.csv."""

from dataclasses import replace

import numpy as np
import pytest

from avsr.errors import AvsrError, UsageError
from avsr.scoring.bootstrap import draw_counts, interval, resampled
from avsr.scoring.metrics import metric
from avsr.scoring.results import Provenance, Results, read_csv, read_scores, write_scores

ORIGIN = Provenance("mini", "tiny", "./run.sh --stage 9", "abc1234", "best.pt", "0123456789ab", "beam 8")


def put(exp, system, seed, test_set, rows, origin=ORIGIN):
    write_scores(exp / system / f"seed{seed}" / test_set / "scores.tsv", rows, origin)


def test_scores_round_trip_and_hold_what_was_not_scored(tmp_path):
    path = tmp_path / "scores.tsv"
    rows = {"s2-b": {"stoi": 71.25, "pesq_raw": float("nan"), "reason": "pesq_raw:\tno\nspeech"},
            "s1-a": {"stoi": 80.0, "pesq_raw": 2.123456789}, "s3-c": {"reason": "no face"}}
    write_scores(path, rows, ORIGIN)
    scores = read_scores(path)
    assert scores.utts == ("s1-a", "s2-b", "s3-c") and scores.provenance == ORIGIN
    np.testing.assert_array_equal(scores.columns["stoi"], [80.0, 71.25, np.nan])
    np.testing.assert_array_equal(scores.columns["pesq_raw"], [2.123457, np.nan, np.nan])
    assert scores.reasons == {"s2-b": "pesq_raw: no speech", "s3-c": "no face"}
    before = path.read_bytes()
    write_scores(path, dict(reversed(rows.items())), ORIGIN)
    assert path.read_bytes() == before


@pytest.mark.parametrize("spoil", [lambda t: t[:-20], lambda t: t[: t.rindex("s2")], lambda t: "", lambda t: "# []\n"])
def test_a_damaged_scores_file_is_refused_by_name(tmp_path, spoil):
    path = tmp_path / "scores.tsv"
    write_scores(path, {"s1-a": {"stoi": 80.0}, "s2-b": {"stoi": 71.0, "reason": "r" * 10}}, ORIGIN)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(AvsrError, match=r"scores\.tsv: damaged scores"):
        read_scores(path)


def test_the_bootstrap_of_a_mean_agrees_with_its_closed_form():
    rng = np.random.default_rng(0)
    x = rng.normal(70, 10, 400)
    low, high = interval(resampled(x[None], np.ones((1, 400))))
    reach = 1.95996 * x.std() / 400**0.5
    assert low == pytest.approx(x.mean() - reach, abs=0.12 * reach)
    assert high == pytest.approx(x.mean() + reach, abs=0.12 * reach)


def test_the_bootstrap_of_a_pooled_rate_agrees_with_a_plain_loop():
    rng = np.random.default_rng(1)
    errors, words = rng.integers(0, 4, 60).astype(float), rng.integers(3, 9, 60).astype(float)
    values = resampled(errors[None], words[None], draws=50)
    for counts, value in zip(draw_counts(60, 50), values, strict=True):
        chosen = [k for k, times in enumerate(counts) for _ in range(int(times))]
        assert len(chosen) == 60
        assert value == pytest.approx(sum(errors[chosen]) / sum(words[chosen]), rel=1e-12)


def test_word_error_rate_is_pooled_and_not_capped(tmp_path):
    put(tmp_path, "eg_a", 1, "clean", {"u1": {"words": 1, "word_errors": 4}, "u2": {"words": 3, "word_errors": 2}})
    assert Results.read(tmp_path, "mini", "tiny").summary("eg_a", "clean", "wer").value == pytest.approx(150.0)


def test_mean_over_the_scored_and_their_number(tmp_path):
    rows = {f"u{k}": {"stoi": 50.0 + k} for k in range(4)} | {"u9": {"stoi": float("nan"), "reason": "stoi: silent"}}
    put(tmp_path, "vse", 1, "speech_-5dB", rows)
    one = Results.read(tmp_path, "mini", "tiny").summary("vse", "speech_-5dB", "stoi")
    assert (one.value, one.scored, one.total, one.seed) == (51.5, 4, 5, "1")
    assert 50.0 <= one.low < 51.5 < one.high <= 53.0


def test_one_utterance_has_a_value_but_no_interval(tmp_path):
    put(tmp_path, "vse", 1, "speech_-5dB", {"u1": {"stoi": 60.0}})
    one = Results.read(tmp_path, "mini", "tiny").summary("vse", "speech_-5dB", "stoi")
    assert one.value == 60.0 and np.isnan(one.low) and np.isnan(one.high)


def test_seeds_are_averaged_with_their_standard_deviation(tmp_path):
    for seed, level in ((1, 60.0), (2, 63.0), (10, 66.0)):
        put(tmp_path, "vse", seed, "own_0dB", {f"u{k}": {"stoi": level + k} for k in (-1, 0, 1)})
    results = Results.read(tmp_path, "mini", "tiny")
    mean = results.summary("vse", "own_0dB", "stoi")
    assert (mean.seed, mean.value, mean.sd) == ("mean", pytest.approx(63.0), pytest.approx(3.0))
    assert results.seeds("vse", "own_0dB") == [1, 2, 10]
    assert results.summary("vse", "own_0dB", "stoi", 10).value == pytest.approx(66.0)
    assert [one.seed for one, _ in results.summaries()] == ["1", "2", "10", "mean"]


def test_differences_are_paired_by_utterance(tmp_path):
    rng = np.random.default_rng(2)
    base = rng.normal(60, 15, 80)  # utterances differ by far more than the systems do
    put(tmp_path, "a", 1, "own_0dB", {f"u{k}": {"stoi": v} for k, v in enumerate(base)} | {"x": {"stoi": 0.0}})
    put(tmp_path, "b", 1, "own_0dB", {f"u{k}": {"stoi": v + 1 + rng.normal(0, 0.5)} for k, v in enumerate(base)})
    results = Results.read(tmp_path, "mini", "tiny")
    gap = results.difference(("b", "own_0dB", "stoi"), ("a", "own_0dB", "stoi"))
    assert gap.scored == 80  # x is not among both
    assert 0.8 < gap.low < gap.value < gap.high < 1.2
    apart = results.summary("a", "own_0dB", "stoi")
    assert apart.high - apart.low > 10 * (gap.high - gap.low)


def test_an_utterance_that_one_side_could_not_score_leaves_the_difference(tmp_path):
    put(tmp_path, "a", 1, "own_0dB", {"u1": {"stoi": 1.0}, "u2": {"stoi": 2.0}, "u3": {"stoi": float("nan")}})
    put(tmp_path, "b", 1, "own_0dB", {"u1": {"stoi": 2.0}, "u2": {"stoi": 3.0}, "u3": {"stoi": 99.0}})
    gap = Results.read(tmp_path, "mini", "tiny").difference(("b", "own_0dB", "stoi"), ("a", "own_0dB", "stoi"))
    assert (gap.value, gap.scored) == (1.0, 2)


def test_results_csv_keeps_other_presets_and_is_the_same_twice(tmp_path):
    put(tmp_path / "one", "vse", 1, "own_0dB", {"u1": {"stoi": 60.0}, "u2": {"stoi": 61.0}})
    put(tmp_path / "two", "vse", 1, "own_0dB", {"u1": {"stoi": 70.0}}, replace(ORIGIN, preset="full"))
    path = tmp_path / "results.csv"
    Results.read(tmp_path / "one", "mini", "tiny").write_csv(path, "mini")
    assert not Results.read(tmp_path / "one", "mini", "full").scores
    Results.read(tmp_path / "two", "mini", "full").write_csv(path, "mini")
    before = path.read_bytes()
    Results.read(tmp_path / "two", "mini", "full").write_csv(path, "mini")
    assert path.read_bytes() == before
    rows = read_csv(path)
    assert [(row["preset"], row["value"], row["scored"], row["total"]) for row in rows] == [
        ("tiny", "60.5000", "2", "2"), ("full", "70.0000", "1", "1")]
    assert rows[0]["checkpoint"] == "best.pt" and rows[0]["checkpoint_digest"] == "0123456789ab"
    assert rows[0]["command"] == "./run.sh --stage 9" and rows[0]["commit"] == "abc1234"
    assert rows[0]["decode"] == "beam 8" and rows[1]["low"] == ""


def test_no_pesq_is_noted(tmp_path):
    reason = "pesq_raw: no pesq; pesq_wb: no pesq"
    put(tmp_path, "vse", 1, "own_0dB", {"u1": {"pesq_raw": float("nan"), "stoi": 5, "reason": reason},
                                        "u2": {"pesq_raw": float("nan"), "stoi": 5, "reason": reason}})
    put(tmp_path, "l2l", 1, "own_0dB", {"u1": {"pesq_raw": float("nan"), "reason": "pesq_raw: clean is silent"}})
    results = Results.read(tmp_path, "mini", "tiny")
    assert results.summary("vse", "own_0dB", "pesq_raw").note == "no pesq"
    assert results.summary("l2l", "own_0dB", "pesq_raw").note == "none scored"


def test_unknown_metric():
    with pytest.raises(UsageError, match="unknown metric 'psq'"):
        metric("psq")
