"""Recurrent layers over padded batches."""

import pytest
import torch
from torch import nn

from avsr.layers.recurrence import recur


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_utterance_is_the_same_in_any_batch(bidirectional):
    torch.manual_seed(0)
    lstm = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=bidirectional)
    x, lengths = torch.randn(3, 9, 3), torch.tensor([5, 9, 1])
    found = recur(lstm, x, lengths)
    assert found.shape == (3, 9, 8 if bidirectional else 4)
    for i, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(found[i, :length], lstm(x[i : i + 1, :length])[0][0])


def test_full_precision_under_autocast():
    lstm, x = nn.LSTM(3, 4, batch_first=True), torch.randn(2, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = recur(lstm, x.bfloat16(), torch.tensor([5, 5]))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, lstm(x.bfloat16().float())[0])
