"""Examples of unequal length to one batch of tensors."""

import numpy as np


def pad_batch(items: list[dict]) -> dict:
    """Arrays are padded with zeros at their end to the longest of the batch and stacked; the rest becomes lists.

    `frames` and other whole numbers become int64 tensors of shape (B,).
    """
    import torch

    batch: dict = {}
    for name in items[0]:
        values = [item[name] for item in items]
        if isinstance(values[0], np.ndarray):
            longest = max(len(value) for value in values)
            padded = np.zeros((len(values), longest, *values[0].shape[1:]), values[0].dtype)
            for row, value in zip(padded, values, strict=True):
                row[: len(value)] = value
            batch[name] = torch.from_numpy(padded)
        elif isinstance(values[0], int):
            batch[name] = torch.tensor(values)
        else:
            batch[name] = values
    return batch


def augment(crop_thw: np.ndarray, draw: np.random.Generator, shift: int) -> np.ndarray:
    """Mirrors the pictures with probability one half and moves them by up to `shift` pixels, the edge repeated."""
    if draw.random() < 0.5:
        crop_thw = crop_thw[:, :, ::-1]
    if shift:
        top, left = draw.integers(0, 2 * shift + 1, 2)
        height, width = crop_thw.shape[1:]
        rows = np.clip(np.arange(height) + top - shift, 0, height - 1)
        columns = np.clip(np.arange(width) + left - shift, 0, width - 1)
        crop_thw = crop_thw[:, rows][:, :, columns]
    return np.ascontiguousarray(crop_thw)
