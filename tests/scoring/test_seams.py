"""Slice seams: errors by position against a plain loop, known ratios, the table with old and new scores."""

from math import log10

import numpy as np
import pytest

from avsr.errors import AvsrError
from avsr.features.mel import WAVE, mel
from avsr.models.enhancement.avse import SLICE_MEL
from avsr.scoring import seams
from avsr.scoring.results import Provenance, Results, write_scores
from avsr.scoring.tables import System

ORIGIN = Provenance("toy", "none", "./run.sh", "abc")
CRN, VSE = System("audio_only_crn", "Audio-only CRN", "enhance"), System("vse", "VSE", "enhance")
NOISY = System("unprocessed", "Unprocessed", "unprocessed")


def magnitudes(slices: int, seed: int) -> np.ndarray:
    """(20 slices, 80) float32 mel magnitudes of which many lie below the floor."""
    draw = np.random.default_rng(seed)
    return (10 ** draw.uniform(-7, 0, (20 * slices, 80))).astype(np.float32)


def looped(estimate_tf, clean_tf) -> list[float]:
    """The squared error in dB² at each position, cell by cell; the first and the last frame lie at no seam."""
    cells = [[] for _ in range(20)]
    for frame in range(1, len(clean_tf) - 1):
        for estimate, clean in zip(estimate_tf[frame].tolist(), clean_tf[frame].tolist(), strict=True):
            one, other = (20 * log10(value if value > 1e-5 else 1e-5) for value in (estimate, clean))
            cells[frame % 20].append((one - other) ** 2)
    return [sum(errors) / len(errors) for errors in cells]


def test_errors_by_position_are_those_of_a_plain_loop():
    estimate_tf, clean_tf = magnitudes(3, 0), magnitudes(3, 1)
    expected = looped(estimate_tf, clean_tf)
    np.testing.assert_allclose(seams.position_errors(estimate_tf, clean_tf), expected, rtol=1e-12)
    scores = seams.score_seams(estimate_tf, clean_tf, "mel_slaney")
    assert scores["seam_edge"] == pytest.approx((expected[0] + expected[19]) / 2)
    assert scores["seam_inner"] == pytest.approx(sum(expected[5:15]) / 10)
    assert seams.SLICE == SLICE_MEL


def test_edges_that_are_worse_by_hand():
    """2 dB off everywhere, 3 dB at position 0 and 1 dB at position 19: (9 + 1) / 2 at the edges, 4 inside."""
    clean_tf = np.full((60, 80), 0.1)
    off_t = np.full(60, 2.0)
    off_t[0::20], off_t[19::20], off_t[1::20] = 3.0, -1.0, 50.0  # position 1 is neither edge nor inside
    scores = seams.score_seams(clean_tf * 10 ** (off_t[:, None] / 20), clean_tf, "mel_slaney")
    assert scores["seam_edge"] == pytest.approx(5.0) and scores["seam_inner"] == pytest.approx(4.0)


def test_samples_are_measured_in_bands():
    draw = np.random.default_rng(3)
    estimate_n, clean_n = draw.standard_normal((2, 640 * 10)).astype(np.float32)
    scores = seams.score_seams(estimate_n.reshape(40, 160), clean_n.reshape(40, 160), WAVE)
    expected = looped(mel(estimate_n, "mel_slaney"), mel(clean_n, "mel_slaney"))
    np.testing.assert_allclose(scores[seams.POSITIONS], expected, rtol=1e-6)


def test_what_lies_at_the_ends_of_an_utterance_is_no_seam():
    """Speech that sets in, and zeros behind it, are hard for any system."""
    clean_tf = np.full((60, 80), 0.1)
    off_t = np.full(60, 2.0)
    off_t[0], off_t[-1] = 40.0, -40.0
    errors_p = seams.position_errors(clean_tf * 10 ** (off_t[:, None] / 20), clean_tf)
    np.testing.assert_allclose(errors_p, 4.0)
    assert seams.score_seams(clean_tf[:20], clean_tf[:20], "mel_slaney") == {}  # one slice: it has none


@pytest.mark.parametrize(("shape", "other"), [((30, 80), (30, 80)), ((20, 80), (20, 80)), ((20, 80), (40, 80))])
def test_frames_that_are_no_whole_slices_are_refused(shape, other):
    with pytest.raises(ValueError, match="whole slices of 20"):
        seams.position_errors(np.ones(shape), np.ones(other))


def put(work, system, edge, inner, test_set="speech_-5dB"):
    """Scores of two utterances; `edge` None: made before seams were measured."""
    rows = {f"u{k}": {"stoi": 70.0} for k in range(2)}
    if edge is not None:
        rows = {utt: row | {"seam_edge": edge + k, "seam_inner": inner} for k, (utt, row) in enumerate(rows.items())}
        errors_p = np.full(20, inner, float)
        errors_p[[0, 19]] = edge
        seams.write_seams(work / system / "seed0" / test_set / seams.FILE, {utt: errors_p for utt in rows})
    write_scores(work / system / "seed0" / test_set / "scores.tsv", rows, ORIGIN)


def test_the_table_has_edges_inside_and_the_ratio_of_the_means(tmp_path):
    put(tmp_path, "audio_only_crn", 11.0, 10.0)
    put(tmp_path, "vse", 10.0, 10.0)
    put(tmp_path, "unprocessed", 29.0, 20.0)
    text = seams.seam_table(" (x)", Results.read(tmp_path, "toy", "none"), [NOISY, CRN, VSE]).markdown()
    assert text.startswith(f"### {seams.TITLE} (x)\n")
    row = next(line for line in text.splitlines() if line.startswith("| Audio-only CRN"))
    assert row == "| Audio-only CRN | 11.5 [11.0, 12.0] | 10.0 [10.0, 10.0] | 1.15 [1.10, 1.20] | – | – | – |"
    assert "From a ratio of 1.10 on seams matter; with `model.conv_mode: continuous`" in text
    # of the systems: not of the unprocessed mixtures
    assert "At 1.10 or above: 1 of 2 ratios, the highest Audio-only CRN on speech_-5dB (1.15).\n" in text
    assert "Scored before" not in text and "Not run" not in text


def test_older_scores_are_read_and_named(tmp_path):
    put(tmp_path, "audio_only_crn", None, None)
    results = Results.read(tmp_path, "toy", "none")
    alone = seams.seam_table("", results, [NOISY, CRN, VSE])
    assert alone.rows == [] and "Scored before seams were measured: Audio-only CRN; delete" in alone.markdown()
    assert seams.seam_curves(tmp_path, results, [CRN]) == ("speech_-5dB", {})
    put(tmp_path, "vse", 10.0, 10.0)
    both = seams.seam_table("", Results.read(tmp_path, "toy", "none"), [NOISY, CRN, VSE])
    assert [row[0] for row in both.rows] == ["VSE"] and "Scored before" in both.markdown()
    assert seams.seam_table("", Results.read(tmp_path / "none", "toy", "none"), [CRN]) is None


def test_curves_are_relative_to_the_inside_and_of_the_first_condition(tmp_path):
    put(tmp_path, "vse", 12.0, 10.0, "natural_-5dB")
    results = Results.read(tmp_path, "toy", "none")
    test_set, curves = seams.seam_curves(tmp_path, results, [CRN, VSE])
    assert test_set == "natural_-5dB" and list(curves) == ["VSE"]
    np.testing.assert_allclose(curves["VSE"], [1.2, *[1.0] * 18, 1.2])
    put(tmp_path, "audio_only_crn", 10.0, 10.0)
    assert seams.seam_curves(tmp_path, Results.read(tmp_path, "toy", "none"), [CRN, VSE])[0] == "speech_-5dB"


def test_a_damaged_file_is_named(tmp_path):
    for text in ("utt\t0\t1\nu\t1\t2\n", "utt\nu\tx\n"):
        (tmp_path / seams.FILE).write_text(text)
        with pytest.raises(AvsrError, match=r"seams\.tsv: damaged"):
            seams.read_seams(tmp_path / seams.FILE)
