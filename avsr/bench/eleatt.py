"""EleAtt-GRU forward and backward against `torch.nn.GRU` of the same size, in turns in one process.

On CUDA the latter is cuDNN's. Both compute in float32 there: left alone, cuDNN would take TF32.
"""

import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

from avsr.bench.common import Options, Row
from avsr.errors import UsageError
from avsr.layers.eleatt_gru import EleAttGRU

# (t, b, d, h) and the targets by the number of threads: on two the ratio of the two cells' arithmetic,
# (3h(d+h) + d(d+h)) / 3h(d+h), which is what a perfect one would cost. No other number of threads has a target.
SIZES = (
    (300, 16, 512, 512, {2: 1.33, 1: 1.45}),
    (75, 32, 1536, 128, {2: 5.0, 1: 5.0}),
    (75, 32, 256, 128, {2: 1.67}),
)
CUDA_SIZES = ((300, 64, 512, 512, 2.0),)


def run(options: Options, sizes: Sequence[tuple] | None = None, repeats: int = 7) -> list[Row]:
    """For each size (None: those of the device) milliseconds of both and their ratio (medians).

    Raises UsageError where no CUDA device is and one is asked for.
    """
    if options.device == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("--device cuda: no such CUDA device is there; use --device cpu")
        with torch.backends.cudnn.flags(allow_tf32=False):
            return _rows(sizes or CUDA_SIZES, "cuda", repeats, "CUDA, float32")
    threads, before = options.threads, torch.get_num_threads()
    torch.set_num_threads(threads)
    sizes = [(*size, targets.get(threads)) for *size, targets in sizes or SIZES]
    rows = _rows(sizes, "cpu", repeats, f"{threads} thread{'s' if threads > 1 else ''}")
    torch.set_num_threads(before)
    return rows


def _rows(sizes: Sequence[tuple], device: str, repeats: int, place: str) -> list[Row]:
    """Three rows for each (t, b, d, h, target). The first pair, with what is made once, is not counted."""
    rows = []
    for t, b, d, h, target in sizes:
        ours = EleAttGRU(d, h, bidirectional=False).to(device)
        reference = nn.GRU(d, h, batch_first=True).to(device)
        x_btd = torch.randn(b, t, d, device=device, requires_grad=True)
        pairs = [(_seconds(ours, x_btd), _seconds(reference, x_btd)) for _ in range(repeats + 1)][1:]
        name = f"EleAtt-GRU (T={t}, B={b}, D={d}, H={h}), {place}"
        rows.append(Row(f"{name}: forward + backward", 1e3 * statistics.median(p[0] for p in pairs), "ms"))
        rows.append(Row(f"{name}: torch.nn.GRU", 1e3 * statistics.median(p[1] for p in pairs), "ms"))
        rows.append(Row(f"{name}: ratio", statistics.median(p[0] / p[1] for p in pairs), "x", target))
    return rows


def _seconds(model: nn.Module, x_btd: torch.Tensor) -> float:
    """Wall time of one pass, to the end of what it started on the device."""
    _finished(x_btd)
    start = time.perf_counter()
    model(x_btd)[0].sum().backward()
    _finished(x_btd)
    return time.perf_counter() - start


def _finished(x_btd: torch.Tensor) -> None:
    if x_btd.is_cuda:
        torch.cuda.synchronize(x_btd.device)
