"""Which reconstruction validation calls for, by scores made up for it; waves of true magnitudes."""

import numpy as np
import pytest

from avsr.features.inversion import reconstruct
from avsr.features.mel import mel
from avsr.scoring.reconstructions import METHODS, Studied, Study, all_ways, reference_waves, row_id, verdict
from avsr.scoring.results import Provenance, Results, Scores

CRN, MHCA = Studied("audio_only_crn", "Audio-only CRN", "mask"), Studied("mhca_avcrn", "MHCA-AVCRN", "mask")
VSE = Studied("vse", "VSE", "mask")


def study(split="valid"):
    return Study(split, ("valid_train_like",), "2 of 2 a list", "python", False)


def results(**gains) -> Results:
    """`capped` above `gain` by (PESQ, STOI) for each system; the second utterance by nothing in any."""
    utts = ("u1", "u2")
    scores = {}
    for row, (pesq, stoi) in gains.items():
        for method, by in (("gain", 0), ("capped", 2)):
            columns = {"pesq_raw": np.array([2 + by * pesq, 2 + 0 * pesq]), "stoi": np.array([70 + by * stoi, 70])}
            one = Scores(utts, columns, {}, Provenance("toy", "-", "", ""))
            scores[(row_id(row.replace("_at_", "@"), method), "valid_train_like")] = {0: one}
    return Results(scores)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({"audio_only_crn": (0.1, 1), "mhca_avcrn": (0.2, 2)}, "Called for: `score.recon: capped`, for all systems"),
        (
            {"audio_only_crn": (0.1, 1), "mhca_avcrn": (0.2, -1)},
            "recon: gain`. `capped` is not above it for MHCA-AVCRN, S",
        ),
        (
            {"audio_only_crn": (0, 1), "mhca_avcrn": (1, 1)},
            "recon: gain`. `capped` is not above it for Audio-only CRN, P",
        ),
        ({"audio_only_crn": (0.1, 1)}, "Cannot be said which setting is called for: not measured for MHCA-AVCRN."),
        ({"audio_only_crn": (-0.1, 1)}, "Called for: `score.recon: gain`"),
        (
            {"vse": (1, 1)},
            "Cannot be said which setting is called for: not measured for Audio-only CRN and MHCA-AVCRN.",
        ),
        ({"audio_only_crn": (np.nan, 1), "mhca_avcrn": (1, 1)}, "not measured for Audio-only CRN."),
    ],
)
def test_the_rule(gains, expected):
    systems = [one for one in (CRN, MHCA, VSE) if one.row in gains]
    assert expected in verdict(study(), results(**gains), systems)


def test_the_rule_holds_for_checkpoints_and_not_for_the_test_split():
    gains = {"audio_only_crn_at_ab": (1, 1), "mhca_avcrn": (1, 1)}
    systems = [Studied("audio_only_crn@ab", "x", "direct"), MHCA]
    assert "score.recon: capped" in verdict(study(), results(**gains), systems)
    assert "--split valid" in verdict(study("test"), results(**gains), systems)


def test_waves_of_true_magnitudes():
    draw = np.random.default_rng(0)
    clean_n, noise_n = draw.standard_normal((2, 640 * 10)).astype(np.float32)
    noisy_n = clean_n + noise_n
    waves = reference_waves(noisy_n, clean_n)
    np.testing.assert_array_equal(waves["unprocessed"], noisy_n)
    np.testing.assert_array_equal(
        waves["mel_capped"], reconstruct(noisy_n, mel(clean_n, "mel_slaney"), "mel_slaney", "capped")
    )
    error = {name: np.mean((wave_n - clean_n)[:-640] ** 2) for name, wave_n in waves.items()}
    assert error["clean_phase"] < error["linear"] < error["unprocessed"]
    loud_tf = 3 * mel(noisy_n, "mel_slaney")  # the caps of 1 and 2 bind in every cell
    ways = all_ways(noisy_n, loud_tf, "mel_slaney")
    assert list(ways) == list(METHODS)
    np.testing.assert_allclose(ways["gain"], noisy_n, atol=1e-5)
    np.testing.assert_allclose(ways["gain_cap2"], 2 * noisy_n, atol=1e-5)
