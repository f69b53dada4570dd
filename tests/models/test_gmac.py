"""Multiply-adds by hand."""

import pytest
import torch
from torch import nn

from avsr.layers.eleatt_gru import EleAttGRU
from avsr.models.enhancement.mhca_avcrn import MHCAAVCRN, MHCAAVCRNConf
from avsr.models.gmac import multiply_adds

PRESETS = {
    "base": {},
    "small": {"channels": (16, 32, 64, 64, 128), "lstm": 256},
    "tiny": {"channels": (8, 8, 16, 16, 16), "lstm": 64},
}


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Linear(7, 5), (3, 2, 7), 3 * 2 * 7 * 5),
        (nn.Conv2d(3, 8, 5, stride=2, padding=2), (2, 3, 10, 12), 2 * 8 * 5 * 6 * 3 * 25),
        (nn.ConvTranspose2d(3, 8, 3, stride=2, padding=1, output_padding=1), (2, 3, 5, 6), 2 * 5 * 6 * 3 * 8 * 9),
        (nn.Conv1d(6, 6, 3, padding=1, groups=6), (1, 6, 20), 20 * 6 * 3),
        (nn.LSTM(5, 4, 2), (9, 2, 5), 9 * 2 * 4 * (4 * (5 + 4) + 4 * (4 + 4))),
        (nn.LSTM(5, 4, bidirectional=True), (9, 1, 5), 2 * 9 * 4 * 4 * (5 + 4)),
        (nn.GRU(5, 4), (9, 2, 5), 9 * 2 * 3 * 4 * (5 + 4)),
        (nn.Sequential(nn.BatchNorm1d(4), nn.ELU()), (3, 4, 9), 0),
    ],
)
def test_layers(layer, shape, expected):
    assert multiply_adds(layer, lambda: layer(torch.randn(shape))) == expected


def test_packed_recurrence_counts_valid_steps():
    layer = nn.LSTM(5, 4, bidirectional=True)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(9, 2, 5), torch.tensor([9, 4]))
    assert multiply_adds(layer, lambda: layer(packed)) == 2 * 13 * 4 * 4 * (5 + 4)


def test_eleatt_gru():
    layer = EleAttGRU(5, 4)
    step = 3 * 4 * (5 + 4) + 5 * (5 + 4)  # three gates and the attention gate on the input
    assert multiply_adds(layer, lambda: layer(torch.randn(2, 7, 5))) == 2 * 2 * 7 * step


def test_attention():
    class Attention(nn.Module):
        def forward(self, x_htd):
            return (x_htd @ x_htd.mT).softmax(-1) @ x_htd

    model = Attention()
    assert multiply_adds(model, lambda: model(torch.randn(3, 7, 5))) == 2 * 3 * 7 * 7 * 5


def test_mode_is_kept():
    layer = nn.Linear(2, 2)
    multiply_adds(layer, lambda: layer(torch.randn(1, 2)))
    assert layer.training


@pytest.mark.parametrize(
    ("preset", "options", "expected"),
    [
        ("base", {}, 8.19),
        ("base", {"balancing": False}, 7.38),
        ("base", {"filtering": False}, 7.38),
        ("base", {"balancing": False, "filtering": False}, 5.52),
        ("small", {}, 1.55),
        ("tiny", {}, 0.18),
    ],
)
def test_mhca_avcrn_for_three_seconds(preset, options, expected):
    model = MHCAAVCRN(MHCAAVCRNConf(**PRESETS[preset], **options))
    crops = torch.zeros(1, 75, 80, 80, dtype=torch.uint8)
    cost = multiply_adds(model, lambda: model.estimate(torch.ones(1, 300, 80), crops, torch.tensor([75])))
    assert round(cost / 1e9, 2) == expected
