"""Squeeze-excitation fusion against its equations in float64."""

import numpy as np
import torch

from avsr.layers.squeeze_excite import SqueezeExciteFusion


def test_the_equations_slice_by_slice():
    torch.manual_seed(0)
    block = SqueezeExciteFusion(6, 10).double().eval()
    audio, video = torch.randn(2, 6, 4, 10, dtype=torch.double), torch.randn(2, 10, 5, dtype=torch.double)
    w = {name: p.detach().numpy() for name, p in block.named_parameters()}
    assert w["squeeze.weight"].shape == (2, 16)
    for n in range(2):
        a, v = audio[n].numpy(), video[n].numpy()
        z = np.concatenate([a.mean((1, 2)), v.mean(1)])
        h = np.maximum(w["squeeze.weight"] @ z + w["squeeze.bias"], 0)
        gain = 1 / (1 + np.exp(-(w["excite.weight"] @ h + w["excite.bias"])))
        expected = np.zeros((6, 4, 10))
        for f in range(4):
            for t in range(10):
                both = np.concatenate([gain[:6] * a[:, f, t], gain[6:] * v[:, t // 2]])  # a picture is two steps
                y = w["join.conv.weight"][:, :, 0, 0] @ both + w["join.conv.bias"]
                y = y / np.sqrt(1 + 1e-5)  # batch norm before any training
                expected[:, f, t] = np.where(y > 0, y, np.expm1(y))
        np.testing.assert_allclose(block(audio, video)[n].detach().numpy(), expected, atol=1e-10)


def test_each_stream_weighs_the_other():
    torch.manual_seed(0)
    block = SqueezeExciteFusion(6, 10)
    audio, video = torch.randn(2, 6, 4, 5), torch.randn(2, 10, 5)
    weights = block.weights(audio, video)
    assert weights.shape == (2, 16) and 0 < weights.min() and weights.max() < 1
    assert (block.weights(audio, 2 * video)[:, :6] != weights[:, :6]).any()
    assert (block.weights(2 * audio, video)[:, 6:] != weights[:, 6:]).any()
