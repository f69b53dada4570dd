"""Recurrent layers over padded batches, in full precision; and what layers over time carry through a stream.

Legend: b batch, t time, d inputs, h outputs.
"""

from typing import Any

import torch
from torch import Tensor, nn

from avsr.layers.masking import valid_mask

# Of one stream: by layer, what its next piece needs of those before. Empty at the start.
Memory = dict[nn.Module, Any]


def recur(lstm: nn.LSTM, x_btd: Tensor, lengths_b: Tensor, memory: Memory | None = None) -> Tensor:
    """Outputs (b, t, h) of a batch-first LSTM; those of an utterance do not depend on the padding after it.

    Recurrences keep full precision under autocast: errors would add up over an utterance. With a `memory` the input is
    the next piece of a stream, without padding, of an LSTM that runs forwards.
    """
    with torch.autocast(x_btd.device.type, enabled=False):
        x_btd = x_btd.float()
        if memory is not None:
            h_btd, memory[lstm] = lstm(x_btd, memory.get(lstm))
            return h_btd
        if not lstm.bidirectional or bool(valid_mask(lengths_b, x_btd.shape[1]).all()):
            return lstm(x_btd)[0]  # forwards, padding comes last and disturbs nothing
        packed = nn.utils.rnn.pack_padded_sequence(x_btd, lengths_b.cpu(), batch_first=True, enforce_sorted=False)
        packed_out = lstm(packed)[0]
        return nn.utils.rnn.pad_packed_sequence(packed_out, batch_first=True, total_length=x_btd.shape[1])[0]
