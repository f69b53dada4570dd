"""The input transform of mel magnitudes and its statistics."""

import pytest
import torch

from avsr.errors import UsageError
from avsr.layers.mel_input import MelInput


def batch(seed: int) -> dict:
    torch.manual_seed(seed)
    mel = torch.rand(2, 12, 5) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    mel[1, 8:] = 1e6  # padding that must not count
    return {"noisy_mel": mel, "frames": torch.tensor([3, 2])}


def test_statistics_are_those_of_the_real_frames_of_all_batches():
    batches = [batch(1), batch(2)]
    transform = MelInput(5, "log_cmvn")
    transform.fit(iter(batches))
    real = torch.cat([torch.cat([b["noisy_mel"][0], b["noisy_mel"][1, :8]]) for b in batches])
    logs = torch.log(real + 1e-3)
    torch.testing.assert_close(transform(real), (logs - logs.mean(0)) / logs.std(0, unbiased=False), atol=1e-4, rtol=0)


def test_statistics_are_set_once_and_travel_with_the_weights():
    transform = MelInput(5, "log_cmvn")
    transform.fit([batch(1)])
    mean = transform.mean.clone()
    other = MelInput(5, "log_cmvn")
    other.load_state_dict(transform.state_dict())
    other.fit([batch(2)])
    assert torch.equal(other.mean, mean)


@pytest.mark.parametrize("name", ["cbrt", "none"])
def test_transforms_without_statistics(name):
    transform = MelInput(5, name)
    transform.fit([batch(1)])
    values = torch.tensor([[[0.0, 1.0, 8.0, 27.0, 0.125]]])
    expected = values if name == "none" else torch.tensor([[[0.001, 1.0, 2.0, 3.0, 0.5]]])
    torch.testing.assert_close(transform(values), expected)


@pytest.mark.parametrize("name", ["log_cmvn", "cbrt", "none"])
def test_sound_of_another_number_of_bands_is_refused(name):
    said = "model.mels is 321, but the sound comes in 5 bands; set model.mels to 5"
    with pytest.raises(UsageError, match=said):
        MelInput(321, name)(batch(1)["noisy_mel"])
    if name == "log_cmvn":
        with pytest.raises(UsageError, match=said):
            MelInput(321, name).fit([batch(1)])
