"""Slice by slice with carried memory the networks give what they give for the whole utterance."""

import pytest
import torch

from avsr.errors import UsageError
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from tests.models.enhancers import shake

SLICES = 4
STREAMING = ("mhca_avcrn", "mhca_avcrn_wo_2stage", "mhca_avcrn_gate", "mhca_avcrn_gate_concat", "audio_only_crn", "vse")


def make(name, **options):
    """A tiny system with every weight and batch statistic moved from where it starts."""
    torch.manual_seed(0)
    return shake(build_model(load_system(name, "tiny").model | options).eval())


def utterance(model):
    noisy_btf = torch.rand(1, 20 * SLICES, 80, generator=torch.Generator().manual_seed(1))
    draw = torch.Generator().manual_seed(2)
    video = torch.randint(0, 256, (1, 5 * SLICES, 80, 80), dtype=torch.uint8, generator=draw)
    return noisy_btf, video if model.video_input else None


def by_slices(model, noisy_btf, video, memory):
    found = []
    for s in range(SLICES):
        pictures = None if video is None else video[:, 5 * s : 5 * s + 5]
        sound = noisy_btf[:, 20 * s : 20 * s + 20]
        found.append(model.estimate(sound, pictures, torch.tensor([5]), memory))
    return torch.cat(found, 1)


@pytest.mark.parametrize("head", ["mask", "direct", "residual"])
@pytest.mark.parametrize("name", STREAMING)
def test_slices_equal_the_whole(name, head):
    model = make(name, head=head)
    noisy_btf, video = utterance(model)
    whole_btf = model.estimate(noisy_btf, video, torch.tensor([5 * SLICES]))
    slices_btf = by_slices(model, noisy_btf, video, model.memory())
    torch.testing.assert_close(slices_btf, whole_btf, atol=1e-5, rtol=1e-5)  # from the first slice on


@pytest.mark.parametrize("name", ["mhca_avcrn", "audio_only_crn"])
def test_without_the_carried_state_the_second_slice_is_another(name):
    model = make(name)
    noisy_btf, video = utterance(model)
    whole_btf = model.estimate(noisy_btf, video, torch.tensor([5 * SLICES]))
    pictures = None if video is None else video[:, 5:10]
    fresh_btf = model.estimate(noisy_btf[:, 20:40], pictures, torch.tensor([5]), model.memory())
    assert (fresh_btf - whole_btf[:, 20:40]).abs().max() > 1e-3


def test_two_streams_do_not_meet():
    """A memory belongs to its stream; the model keeps nothing."""
    model = make("audio_only_crn")
    noisy_btf, _ = utterance(model)
    first, second = model.memory(), model.memory()
    model.estimate(noisy_btf[:, 20:40], None, torch.tensor([5]), second)
    expected_btf = by_slices(model, noisy_btf, None, model.memory())
    torch.testing.assert_close(by_slices(model, noisy_btf, None, first), expected_btf, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"bidirectional": True}, "model.bidirectional: true"), ({"conv_mode": "continuous"}, "conv_mode: continuous")],
)
def test_what_looks_ahead_is_refused(options, said):
    with pytest.raises(UsageError, match=f"{said} looks ahead .*cannot run on a stream") as error:
        make("mhca_avcrn", **options).memory()
    assert "\n" not in str(error.value)


def test_other_systems_are_refused():
    with pytest.raises(UsageError, match="^OVA cannot run on a stream"):
        make("ova").memory()


def test_magnitudes_of_short_windows_are_refused():
    with pytest.raises(UsageError, match=r"^model.domain: magnitude cannot run on a stream, .*: log_mel"):
        make("audio_only_crn_faithful").memory()
