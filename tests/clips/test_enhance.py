"""A clip in pieces is what it is at once: the chain of stages 2, 3 and 9 on the whole of it."""

import numpy as np
import pytest
import torch

from avsr.clips.enhance import enhance_pieces, level_factor, shown
from avsr.clips.faces import follow, mouths
from avsr.clips.sound import measure
from avsr.features.inversion import reconstruct
from avsr.features.mel import mel
from avsr.media.audio import read_sound
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.noise.mixing import LEVEL
from avsr.streaming import SLICE, Stream
from tests.media.clips import face_clip, write_clip

PICTURES = 35  # 7 slices


def fresh(name: str):
    """A tiny system whose weights are as drawn, with statistics of some kind."""
    torch.manual_seed(0)
    model = build_model(load_system(name, "tiny").model).eval()
    model.mel_mean.fill_(-60.0), model.mel_std.fill_(20.0)
    if model.video_input:
        model.picture_mean.fill_(0.4), model.picture_std.fill_(0.2)
    return model


def noise(seconds: float, rate: int = 48000) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), 1)).astype(np.float32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A face that is gone for 0.6 s, and noise."""
    pictures = face_clip(PICTURES)
    pictures[12:27] = 90
    folder = tmp_path_factory.mktemp("clips")
    return write_clip(folder / "clip.mkv", pictures, sound=noise(PICTURES / 25), rate=48000, sound_codec="flac")


def enhanced(path, model, face) -> np.ndarray:
    measured = measure(path)
    return np.concatenate(list(enhance_pieces(path, Stream(model, level_factor(path, measured)), measured, face)))


@pytest.mark.parametrize("name", ["mhca_avcrn", "audio_only_crn", "vse"])
def test_pieces_are_the_whole_clip_at_once(clip, name):
    model, face = fresh(name), follow(clip)
    wave_n, _ = read_sound(clip)
    factor = LEVEL / np.sqrt(np.mean(np.square(wave_n, dtype=np.float64)))
    noisy_n = (factor * wave_n).astype(np.float32)
    video = None
    if model.video_input:
        crops = np.stack(list(mouths(clip, face, "crop80")))
        crops[~face.seen_t] = 102  # 0.4, the mean
        video = torch.from_numpy(crops)[None]
    with torch.no_grad():
        mel_btf = torch.from_numpy(mel(noisy_n, model.mel_set))[None]
        estimate_tf = model.estimate(mel_btf, video, torch.tensor([PICTURES]))
    expected = reconstruct(noisy_n, estimate_tf[0].numpy(), model.mel_set) / factor
    found = enhanced(clip, model, face)
    assert found.shape == wave_n.shape == (640 * PICTURES,) and found.dtype == np.float32
    np.testing.assert_allclose(found[SLICE:], expected[SLICE:], atol=1e-5)
    assert np.abs(found - wave_n).max() > 0.01  # it does something


def test_without_a_face_the_mean_mouth_is_shown(clip):
    model = fresh("mhca_avcrn")
    pictures = shown(clip, model, None)
    assert all((next(pictures) == 102).all() for _ in range(3))
    seen = [next(picture) for picture in [shown(clip, model, follow(clip))] for _ in range(PICTURES + 2)]
    assert [(crop == 102).all() for crop in seen] == [*~follow(clip).seen_t, True, True]


def test_sound_that_is_no_whole_slice_or_longer_than_its_pictures(tmp_path):
    for seconds in (0.05, 0.97, 2.3):
        path, sound = tmp_path / f"{seconds}.mkv", noise(seconds)
        write_clip(path, face_clip(25), sound=sound, rate=48000, sound_codec="flac")
        found = enhanced(path, fresh("mhca_avcrn"), follow(path))
        assert len(found) == measure(path).length == round(16000 * seconds) and np.isfinite(found).all()
