"""EleAtt-GRU forward and backward against `torch.nn.GRU` of the same size, in turns in one process."""

import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

from avsr.bench.common import Options, Row
from avsr.layers.eleatt_gru import EleAttGRU

# (t, b, d, h) and the targets by the number of threads: on two the ratio of the two cells' arithmetic,
# (3h(d+h) + d(d+h)) / 3h(d+h), which is what a perfect one would cost. No other number of threads has a target.
SIZES = (
    (300, 16, 512, 512, {2: 1.33, 1: 1.45}),
    (75, 32, 1536, 128, {2: 5.0, 1: 5.0}),
    (75, 32, 256, 128, {2: 1.67}),
)


def _seconds(model: nn.Module, x_btd: torch.Tensor) -> float:
    start = time.perf_counter()
    model(x_btd)[0].sum().backward()
    return time.perf_counter() - start


def run(options: Options, sizes: Sequence[tuple] = SIZES, repeats: int = 7) -> list[Row]:
    """For each size milliseconds of both and their ratio (medians)."""
    threads, before = options.threads, torch.get_num_threads()
    torch.set_num_threads(threads)
    rows = []
    for t, b, d, h, targets in sizes:
        ours, reference = EleAttGRU(d, h, bidirectional=False), nn.GRU(d, h, batch_first=True)
        x_btd = torch.randn(b, t, d, requires_grad=True)
        pairs = [(_seconds(ours, x_btd), _seconds(reference, x_btd)) for _ in range(repeats + 1)][1:]
        name = f"EleAtt-GRU (T={t}, B={b}, D={d}, H={h}), {threads} thread{'s' if threads > 1 else ''}"
        rows.append(Row(f"{name}: forward + backward", 1e3 * statistics.median(p[0] for p in pairs), "ms"))
        rows.append(Row(f"{name}: torch.nn.GRU", 1e3 * statistics.median(p[1] for p in pairs), "ms"))
        rows.append(Row(f"{name}: ratio", statistics.median(p[0] / p[1] for p in pairs), "x", targets.get(threads)))
    torch.set_num_threads(before)
    return rows
