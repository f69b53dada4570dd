"""Loops over time steps: a plain call on a CPU; on CUDA graphs of CHUNK steps, without Python between two steps.

A loop is a function of three tuples of tensors that works in place, allocates nothing and asks for no values:
`fixed` hold for all steps (weights, and the state that is carried on), `read` and `updated` have time first. It leaves
in the carried state what the next call begins with, so that two calls over halves do what one does over the whole.

A captured graph works on tensors of its own. For each chunk the sequence's are copied in, the graph is replayed, and
what it updated is copied out. So graphs do not depend on the length, only on the other sizes: batch, widths, stack.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK, GRAPHS = 25, 64  # steps of a graph: a second of pictures; graphs that are kept

Tensors = tuple[Tensor, ...]
Loop = Callable[[Tensors, Tensors, Tensors], None]


def run_loop(loop: Loop, fixed: Tensors, read: Tensors, updated: Tensors, backwards: bool = False) -> None:
    """The loop over whole sequences. `backwards`: from the last step to the first, as the loop itself goes.

    The carried state is undefined afterwards. Steps behind the sequence's end, which fill the last chunk, are zeros: a
    loop that goes backwards begins in them, so that its carried state must stay at its start over zeros.
    """
    if fixed[0].device.type == "cuda":
        _graphs.run(loop, fixed, read, updated, backwards)
    else:
        loop(fixed, read, updated)


def capture(loop: Loop, fixed: Tensors, read: Tensors, updated: Tensors) -> Callable[[], None]:
    """The loop over these very CUDA tensors as a graph; returns what replays it."""
    with torch.cuda.device(fixed[0].device):
        stream = _stream(fixed[0].device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loop(fixed, read, updated)  # what libraries allocate at first use must not be captured
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # thread_local: a loader's thread that pins memory meanwhile is no error.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            loop(fixed, read, updated)
    return graph.replay


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all captures: libraries keep a workspace for every stream."""
    return torch.cuda.Stream(device)


class _Captured(NamedTuple):
    fixed: Tensors
    read: Tensors
    updated: Tensors
    replay: Callable[[], None]


class Graphs:
    """The captured loops by their tensors' sizes; the one unused for longest goes when there are too many.

    Each holds its fixed tensors and a chunk of the others. For EleAtt-GRU in float32 the two graphs of a size take
    4 x CHUNK x b x k x (5d + 13h) bytes and twice the loop's weights: 59 + 15 MB at (b, k, d, h) = (64, 1, 512, 512).
    """

    def __init__(self, capture: Callable = capture, chunk: int = CHUNK, most: int = GRAPHS):
        self.capture, self.chunk, self.most = capture, chunk, most
        self.kept: OrderedDict[tuple, _Captured] = OrderedDict()

    def run(self, loop: Loop, fixed: Tensors, read: Tensors, updated: Tensors, backwards: bool = False) -> None:
        """As `run_loop`, chunk by chunk."""
        own = self._captured(loop, fixed, read, updated)
        for mine, given in zip(own.fixed, fixed, strict=True):
            mine.copy_(given)
        time = len(updated[0])
        starts = range(0, time, self.chunk)
        for start in reversed(starts) if backwards else starts:
            count = min(self.chunk, time - start)
            for mine, given in zip(own.read + own.updated, read + updated, strict=True):
                mine[:count].copy_(given[start : start + count])
                if count < self.chunk:
                    mine[count:].zero_()
            own.replay()
            for mine, given in zip(own.updated, updated, strict=True):
                given[start : start + count].copy_(mine[:count])

    def _captured(self, loop: Loop, fixed: Tensors, read: Tensors, updated: Tensors) -> _Captured:
        sizes = [t.shape for t in fixed] + [t.shape[1:] for t in read + updated]
        key = (loop, fixed[0].device, fixed[0].dtype, *sizes)
        if key not in self.kept:
            # Also where a recogniser is scored: tensors made in inference mode could not serve a training later.
            with torch.inference_mode(False), torch.no_grad():
                own = [tuple(t.new_zeros(t.shape) for t in fixed)]
                own += [tuple(t.new_zeros(self.chunk, *t.shape[1:]) for t in some) for some in (read, updated)]
                self.kept[key] = _Captured(*own, self.capture(loop, *own))
            if len(self.kept) > self.most:  # after the capture, which waits until no other graph runs
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]


_graphs = Graphs()
