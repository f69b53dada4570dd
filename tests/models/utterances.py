"""Batches of made-up utterances for recognisers."""

import torch

from avsr.text import EOS, PAD


def example(frames: list[int], lengths: list[int], seed: int = 2) -> list[torch.Tensor]:
    """mel, feats, frames, tokens, token lengths; padding holds rubbish (tokens: PAD)."""
    torch.manual_seed(seed)
    time, longest = max(frames), max(lengths)
    mel, feats = torch.rand(len(frames), 4 * time, 80), torch.randn(len(frames), time, 64)
    tokens = torch.randint(3, 41, (len(frames), longest))
    for row, (count, length) in enumerate(zip(frames, lengths, strict=True)):
        mel[row, 4 * count :], feats[row, count:] = 100.0, -100.0
        tokens[row, length - 1], tokens[row, length:] = EOS, PAD
    return [mel, feats, torch.tensor(frames), tokens, torch.tensor(lengths)]


def one(batch: list[torch.Tensor], row: int) -> list[torch.Tensor]:
    """One utterance of a batch without its padding."""
    mel, feats, frames, tokens, lengths = (x[row : row + 1] for x in batch)
    return [mel[:, : 4 * frames], feats[:, :frames], frames, tokens[:, :lengths], lengths]
