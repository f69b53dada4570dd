"""Word and character errors against hand-made cases and an own edit distance; energy error; transcripts."""

import random

import numpy as np
import pytest

from avsr.scoring.energy import energy_error, score_bins, score_magnitudes
from avsr.scoring.words import count_errors, score_label, score_transcripts, write_trn


def distance(left, right) -> int:
    """Levenshtein by the full table."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(right) + 1)] for i in range(len(left) + 1)]
    for i, a in enumerate(left, 1):
        for j, b in enumerate(right, 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a != b))
    return table[-1][-1]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "s", "d", "i", "chars"),
    [
        ("BIN BLUE AT F TWO NOW", "BIN BLUE AT F TWO NOW", 0, 0, 0, 0),
        ("BIN BLUE AT F TWO NOW", "bin  blue at f two\tnow ", 0, 0, 0, 0),
        ("BIN BLUE", "BIN RED", 1, 0, 0, 4),
        ("BIN BLUE", "BIN", 0, 1, 0, 5),
        ("BIN BLUE", "", 0, 2, 0, 8),
        ("BIN", "BIN BLUE NOW", 0, 0, 2, 9),
        ("", "BIN", 0, 0, 1, 3),
    ],
)
def test_counts_of_hand_made_cases(reference, hypothesis, s, d, i, chars):
    counts = count_errors(reference, hypothesis)
    assert (counts["substitutions"], counts["deletions"], counts["insertions"]) == (s, d, i)
    assert counts["word_errors"] == s + d + i and counts["char_errors"] == chars
    assert counts["words"] == len(reference.split()) and counts["chars"] == len(reference)


@pytest.mark.parametrize(
    ("hypothesis", "hits"),
    [
        ("BIN BLUE AT F TWO NOW", 2),
        ("bin  blue at f two now", 2),
        ("LAY RED IN F TWO SOON", 2),  # other words do not count
        ("BIN BLUE AT S TWO NOW", 1),
        ("BIN BLUE AT F THREE NOW", 1),
        ("BLUE AT F TWO NOW", 2),  # a word is lost before them
        ("BIN BLUE AT F F TWO NOW", 2),
        ("TWO F", 1),  # in the wrong order one of the two stands against itself
        ("", 0),
    ],
)
def test_letters_and_digits_of_grid(hypothesis, hits):
    counts = score_transcripts("BIN BLUE AT F TWO NOW", hypothesis)
    assert (counts["keywords"], counts["keyword_hits"]) == (2, hits)


@pytest.mark.parametrize("sentence", ["BIN BLUE AT W TWO NOW", "BIN BLUE AT F TWO", "A B C D E F", ""])
def test_other_sentences_have_no_keywords(sentence):
    assert "keywords" not in count_errors(sentence, "BIN BLUE AT F TWO NOW")


def test_counts_equal_an_own_edit_distance():
    draw = random.Random(1)
    words = ["AT", "BIN", "B", "BLUE", "IN", "A", "NINE", "FINE"]
    for _ in range(200):
        reference, hypothesis = ([draw.choice(words) for _ in range(draw.randint(low, 8))] for low in (1, 0))
        counts = count_errors(" ".join(reference), " ".join(hypothesis))
        assert counts["word_errors"] == distance(reference, hypothesis)
        assert counts["char_errors"] == distance(" ".join(reference), " ".join(hypothesis))


def test_columns_of_beam_and_greedy():
    scores = score_transcripts("A B C", "A B C", "A X")
    assert scores == {"words": 3, "word_errors": 0, "chars": 5, "char_errors": 0, "greedy_word_errors": 2,
                      "greedy_char_errors": 3}


def test_label_ranks():
    scores = np.array([0.1, 0.9, 0.5, 0.4, 0.3, 0.2, 0.0])
    assert score_label(scores, 1) == {"top1": 1, "top5": 1}
    assert score_label(scores, 5) == {"top1": 0, "top5": 1}
    assert score_label(scores, 0) == {"top1": 0, "top5": 0}
    # A classifier that gives every class the same score is right for one class only.
    assert sum(score_label(np.zeros(7), label)["top1"] for label in range(7)) == 1


def test_trn(tmp_path):
    path = tmp_path / "hyp.trn"
    write_trn(path, {"s2-b": "now  again", "s1-a": ""})
    assert path.read_text() == "(s1-a)\nNOW AGAIN (s2-b)\n"


def test_energy_error_properties():
    rng = np.random.default_rng(0)
    clean, estimate = rng.random((30, 80)), rng.random((30, 80))
    loop = sum((e - c) ** 2 for e, c in zip(estimate.flat, clean.flat, strict=True)) / sum(c**2 for c in clean.flat)
    assert energy_error(estimate, clean) == pytest.approx(100 * loop**0.5, rel=1e-12)
    assert energy_error(clean, clean) == 0
    assert energy_error(np.zeros_like(clean), clean) == 100
    assert energy_error(2 * clean, clean) == pytest.approx(100)
    for power in (1.0, 0.5):  # the level of a recording does not matter
        assert energy_error(9 * estimate, 9 * clean, power) == pytest.approx(energy_error(estimate, clean, power))
    assert energy_error(4 * clean, clean, 0.5) == pytest.approx(100)
    assert score_magnitudes(estimate, clean) == {"energy_linear": energy_error(estimate, clean),
                                                 "energy_sqrt": energy_error(estimate, clean, 0.5)}


def test_energy_error_of_silence_is_counted_and_of_other_shapes_refused():
    scores = score_magnitudes(np.ones((3, 80)), np.zeros((3, 80)))
    assert np.isnan(scores["energy_linear"]) and np.isnan(scores["energy_sqrt"]) and "silent" in scores["reason"]
    with pytest.raises(ValueError, match="shape"):
        energy_error(np.ones((3, 80)), np.ones((4, 80)))


def test_energy_errors_over_bins_have_names_of_their_own_and_those_of_the_mixture_beside():
    rng = np.random.default_rng(1)
    clean, noisy, estimate = (rng.random((12, 321)) for _ in range(3))
    scores = score_bins(estimate, noisy, clean)
    assert scores == {"energy_stft": energy_error(estimate, clean), "energy_stft_noisy": energy_error(noisy, clean)}
    silent = score_bins(estimate, noisy, np.zeros_like(clean))
    assert all(np.isnan(silent[name]) for name in scores) and silent["reason"].count("silent") == 2
