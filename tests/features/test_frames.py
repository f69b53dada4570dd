import numpy as np
import pytest

from avsr.errors import UtteranceError
from avsr.features.frames import fit_length


@pytest.mark.parametrize("samples", [48000 - 3200, 47648, 47999, 48000, 48001, 48000 + 3200])
def test_sound_is_cut_or_padded_at_its_end(samples):
    wave_n = np.random.default_rng(0).uniform(0.5, 1, samples).astype(np.float32)
    fitted_n = fit_length(wave_n, 75)
    assert fitted_n.shape == (48000,) and fitted_n.dtype == np.float32
    kept = min(samples, 48000)
    assert np.array_equal(fitted_n[:kept], wave_n[:kept]) and not fitted_n[kept:].any()


@pytest.mark.parametrize(("samples", "word"), [(48000 - 3201, "shorter"), (48000 + 3201, "longer")])
def test_more_than_a_fifth_of_a_second_apart_is_refused(samples, word):
    with pytest.raises(UtteranceError, match=f"0.200 s {word} than its 75 pictures"):
        fit_length(np.ones(samples, np.float32), 75)


def test_no_picture_is_refused():
    with pytest.raises(UtteranceError, match="no picture"):
        fit_length(np.ones(100, np.float32), 0)
