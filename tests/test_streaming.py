"""The whole chain on a stream against the chain on whole utterances; delay, live level, bad input."""

import numpy as np
import pytest
import torch

from avsr.errors import UsageError, UtteranceError
from avsr.features.inversion import reconstruct
from avsr.features.mel import mel
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.streaming import LEAD, SLICE, RunningLevel, Stream, open_stream, run_through
from avsr.training import checkpoint

SLICES, SYSTEMS = 5, ("mhca_avcrn", "audio_only_crn", "vse")


def make(name="audio_only_crn", preset="tiny", **options):
    """A system whose masks are far from constant."""
    torch.manual_seed(0)
    model = build_model(load_system(name, preset).model | options).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
        model.mel_mean.fill_(-45)
        model.mel_std.fill_(15)
    return model


def clip(model, slices=SLICES):
    """Sound that comes and goes, and pictures."""
    chance = np.random.default_rng(0)
    samples = SLICE * slices
    loudness_n = 0.2 + np.abs(np.sin(np.arange(samples) * 2 * np.pi / 9000))
    wave_n = (0.02 * chance.standard_normal(samples) * loudness_n).astype(np.float32)
    pictures = chance.integers(0, 256, (5 * slices, 80, 80), dtype=np.uint8)
    return wave_n, pictures if model.video_input else None


def offline(model, wave_n, pictures, factor):
    noisy_n = wave_n * np.float32(factor)
    noisy_btf = torch.from_numpy(mel(noisy_n, model.mel_set))[None]
    video = None if pictures is None else torch.from_numpy(pictures)[None]
    estimate_tf = model.estimate(noisy_btf, video, torch.tensor([len(wave_n) // 640]))[0].numpy()
    return reconstruct(noisy_n, estimate_tf, model.mel_set) / factor


@pytest.mark.parametrize(("preset", "factor"), [("tiny", 1.0), ("tiny", 3.7), ("small", 3.7)])
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_stream_equals_the_whole(name, preset, factor):
    model = make(name, preset)
    wave_n, pictures = clip(model)
    expected_n = offline(model, wave_n, pictures, factor)
    out_n = run_through(Stream(model, factor), wave_n, pictures)
    assert out_n.shape == wave_n.shape and out_n.dtype == np.float32
    np.testing.assert_allclose(out_n, expected_n, atol=1e-5)
    assert np.abs(expected_n - wave_n).max() > 1e-2  # the network does something
    wrong_n = offline(model, wave_n, pictures, 30 * factor)
    assert np.abs(wrong_n - expected_n).max() > 1e-4  # and the level matters


def test_one_slice_alone():
    model = make("mhca_avcrn")
    wave_n, pictures = clip(model, 1)
    out_n = Stream(model, 2.0).finish(wave_n, pictures)
    np.testing.assert_allclose(out_n, offline(model, wave_n, pictures, 2.0), atol=1e-5)


def test_the_delay_is_the_longest_way_of_a_sample():
    model = make()
    wave_n, _ = clip(model)
    stream = Stream(model, 1.0)
    taken = given = longest = 0
    for _ in range(SLICES - 1):
        piece_n = wave_n[taken : taken + stream.samples]
        taken += len(piece_n)
        longest = max(longest, taken - given)  # the first sample of this piece of output
        given += len(stream.push(piece_n))
    assert longest == Stream.delay == 3680  # 230 ms


def test_nothing_after_the_delay_is_heard():
    """What comes in later changes nothing that has come out, and the sample at the delay does."""
    model = make()
    wave_n, _ = clip(model)
    before_n = offline(model, wave_n, None, 1.0)
    changed_n = wave_n.copy()
    changed_n[2 * SLICE + LEAD :] = 0
    after_n = offline(model, changed_n, None, 1.0)
    same = 2 * SLICE - 320
    np.testing.assert_allclose(after_n[:same], before_n[:same], atol=1e-6)
    assert np.abs(after_n[same : same + SLICE] - before_n[same : same + SLICE]).max() > 1e-3


def test_the_running_level_is_that_of_a_steady_sound():
    level, tone_n = RunningLevel(), 0.3 * np.sqrt(2) * np.sin(np.arange(SLICE) * 2 * np.pi / 160)
    assert [level(tone_n) for _ in range(20)] == pytest.approx([0.05 / 0.3] * 20)
    for _ in range(400):  # 80 s: what was loud is forgotten
        factor = level(0.1 * tone_n)
    assert factor == pytest.approx(0.5 / 0.3, rel=0.02)


def test_the_running_level_of_silence_is_bounded():
    assert RunningLevel()(np.zeros(SLICE)) == pytest.approx(0.05 / 1e-5)


def test_a_live_stream_of_a_steady_sound_is_near_the_whole():
    model = make("mhca_avcrn")
    wave_n, pictures = clip(model)
    factor = 0.05 / np.sqrt(np.mean(np.square(wave_n)))
    live_n = run_through(Stream(model), wave_n, pictures)
    expected_n = offline(model, wave_n, pictures, factor)
    assert 0 < np.sum((live_n - expected_n) ** 2) < 0.01 * np.sum(expected_n**2)


# ---- bad input


@pytest.mark.parametrize("samples", [SLICE, SLICE + LEAD - 1, 0])
def test_a_slice_of_the_wrong_length(samples):
    with pytest.raises(UtteranceError, match=rf"a slice of shape \({samples},\): this one takes 3360 samples$"):
        Stream(make()).push(np.zeros(samples, np.float32))


def test_later_and_last_slices_of_the_wrong_length():
    stream = Stream(make())
    stream.push(np.zeros(3360, np.float32))
    with pytest.raises(UtteranceError, match="takes 3200 samples"):
        stream.push(np.zeros(3360, np.float32))
    with pytest.raises(UtteranceError, match="takes 3040 samples"):
        stream.finish(np.zeros(3200, np.float32))
    stream.finish(np.zeros(3040, np.float32))  # the refused ones left no trace
    with pytest.raises(UtteranceError, match="has ended"):
        stream.push(np.zeros(3200, np.float32))


@pytest.mark.parametrize(
    "pictures", [None, np.zeros((4, 80, 80), np.uint8), np.zeros((5, 80, 80)), np.zeros((5, 112, 112), np.uint8)]
)
def test_pictures_that_do_not_fit(pictures):
    with pytest.raises(UtteranceError, match=r"^pictures .*: a slice takes \(5, 80, 80\) of uint8$"):
        Stream(make("vse")).push(np.zeros(3360, np.float32), pictures)


def test_samples_that_are_not_finite():
    with pytest.raises(UtteranceError, match="not finite"):
        Stream(make()).push(np.full(3360, np.nan, np.float32))


@pytest.mark.parametrize("samples", [0, 640, SLICE + 640])
def test_a_clip_that_is_not_whole_slices(samples):
    with pytest.raises(UtteranceError, match="cut both to whole slices"):
        run_through(Stream(make()), np.zeros(samples, np.float32))


@pytest.mark.parametrize(
    ("name", "options", "recon", "said"),
    [
        ("audio_only_crn", {"head": "direct"}, "gain", "head direct cannot run on a stream; train one with head: mask"),
        ("vse", {"head": "residual"}, "gain", "head residual cannot run on a stream; train one with head: mask"),
        ("audio_only_crn", {}, "pinv", "reconstruction pinv cannot run on a stream; take gain"),
        ("mhca_avcrn", {"bidirectional": True}, "gain", "model.bidirectional: true looks ahead"),
        ("ova", {}, "gain", "OVA cannot run on a stream"),
        ("ae_1drn", {}, "gain", "cannot run on a stream"),
    ],
)
def test_checkpoints_that_cannot_stream(tmp_path, name, options, recon, said):
    path, conf = tmp_path / "best.pt", load_system(name, "tiny").model | options
    config = {"system": {"model": conf}}
    checkpoint.save(path, {"system": name, "config": config, "model": build_model(conf).state_dict()})
    with pytest.raises(UsageError, match=said) as error:
        open_stream(path, recon=recon)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_checkpoint_streams(tmp_path):
    model, path = make("vse"), tmp_path / "best.pt"
    config = {"system": {"model": load_system("vse", "tiny").model}}
    checkpoint.save(path, {"system": "vse", "config": config, "model": model.state_dict()})
    wave_n, pictures = clip(model)
    expected_n = run_through(Stream(model, 1.0), wave_n, pictures)
    np.testing.assert_array_equal(run_through(open_stream(path, 1.0), wave_n, pictures), expected_n)
