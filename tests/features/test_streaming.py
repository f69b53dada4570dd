"""Piece by piece the same as of the whole wave: STFT, inverse, gain reconstruction."""

import numpy as np
import pytest

from avsr.features.inversion import reconstruct
from avsr.features.mel import mel, mel_magnitude
from avsr.features.stft import istft, stft
from avsr.features.streaming import LEAD, StreamingGain, StreamingInverse, StreamingSTFT

SLICE = 3200


@pytest.fixture
def wave_n():
    return (0.05 * np.random.default_rng(0).standard_normal(4 * SLICE)).astype(np.float32)


def pieces(wave_n, lengths):
    ends = np.cumsum(lengths)
    assert ends[-1] == len(wave_n)
    return np.split(wave_n, ends[:-1])


@pytest.mark.parametrize("lengths", [[SLICE] * 4, [SLICE + LEAD, SLICE, SLICE, SLICE - LEAD], [321, 7, 1, 12471]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_frames_of_pieces_are_those_of_the_whole(wave_n, lengths, dtype):
    stream = StreamingSTFT(dtype)
    found = [stream.push(piece_n) for piece_n in pieces(wave_n, lengths)]
    spectrum_tf = np.concatenate([*found, stream.finish()])
    expected_tf = stft(wave_n.astype(dtype))
    assert spectrum_tf.dtype == expected_tf.dtype and spectrum_tf.shape == expected_tf.shape
    np.testing.assert_allclose(spectrum_tf, expected_tf, atol=1e-6)


def test_the_lead_is_what_a_slice_lacks(wave_n):
    with_lead, without, less = StreamingSTFT(), StreamingSTFT(), StreamingSTFT()
    assert len(with_lead.push(wave_n[: SLICE + LEAD])) == 20
    assert len(with_lead.push(wave_n[SLICE + LEAD : 2 * SLICE + LEAD])) == 20
    assert len(less.push(wave_n[: SLICE + LEAD - 1])) == len(without.push(wave_n[:SLICE])) == 19


def test_mel_of_pieces_is_that_of_the_whole(wave_n):
    stream = StreamingSTFT(np.float32)
    found = [stream.push(piece_n) for piece_n in pieces(wave_n, [SLICE] * 4)]
    spectrum_tf = np.concatenate([*found, stream.finish()])
    np.testing.assert_allclose(mel_magnitude(np.abs(spectrum_tf[:-1]), "mel_slaney"), mel(wave_n, "mel_slaney"), 1e-5)


def test_a_first_piece_that_cannot_be_reflected():
    with pytest.raises(ValueError, match="320 samples is too short to reflect 320"):
        StreamingSTFT().push(np.zeros(320))


@pytest.mark.parametrize("cuts", [[20, 40, 60, 80], [1, 2, 3, 7, 80]])
def test_the_inverse_of_pieces_is_that_of_the_whole(wave_n, cuts):
    # Not the spectrum of any wave, so that each sample depends on all frames over it.
    chance = np.random.default_rng(1)
    spectrum_tf = stft(wave_n.astype(np.float64)) * chance.uniform(0, 1, (81, 321))
    stream = StreamingInverse()
    found = [stream.push(piece_tf) for piece_tf in np.split(spectrum_tf, cuts)]
    out_n = np.concatenate([*found, stream.finish()])
    np.testing.assert_allclose(out_n, istft(spectrum_tf, len(wave_n)), atol=1e-12)
    assert len(found[0]) == max(160 * cuts[0] - 320, 0)  # all but half a window


@pytest.mark.parametrize("level", [1.0, 3.0])
def test_gain_of_pieces_is_that_of_the_whole(wave_n, level):
    estimate_tf = mel(wave_n * level, "mel_slaney") * np.random.default_rng(1).uniform(0, 1.5, (80, 80))
    spectrum_tf, stream = stft(wave_n.astype(np.float64)), StreamingGain("mel_slaney")
    found = [stream.push(spectrum_tf[k : k + 20], estimate_tf[k : k + 20], level) for k in range(0, 80, 20)]
    out_n = np.concatenate([*found, stream.finish(spectrum_tf[80:])])
    expected_n = reconstruct(wave_n * level, estimate_tf, "mel_slaney") / level
    assert out_n.dtype == np.float32
    np.testing.assert_allclose(out_n, expected_n, atol=1e-6)
