"""Loops in chunks against the same loops over whole sequences, and what a capture needs of them. The capture itself,
which needs a CUDA device, is replaced by a call of the loop over the captured tensors."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from avsr.layers import eleatt_gru
from avsr.layers.eleatt_gru import EleAttGRU
from avsr.layers.time_loop import Graphs, run_loop


def call(loop, *tensors):
    """In place of a capture: what replays the loop."""
    return lambda: loop(*tensors)


def decay(fixed, read, updated):
    """s = w s + x, y = y s"""
    (w, s), (x,), (y,) = fixed, read, updated
    for x_t, y_t in zip(x, y, strict=True):
        y_t.mul_(s.mul_(w).add_(x_t))


def decay_backwards(fixed, read, updated):
    """The same from the last step to the first."""
    decay(fixed, (read[0].flip(0),), (mirrored := updated[0].flip(0),))
    updated[0].copy_(mirrored.flip(0))


@pytest.mark.parametrize("time", [1, 3, 4, 6, 8])
@pytest.mark.parametrize("backwards", [False, True])
def test_chunks_carry_the_state_on(time, backwards):
    torch.manual_seed(0)
    x, y, w, s = torch.randn(time, 2), torch.randn(time, 2), torch.rand(2), torch.randn(2)
    s = torch.zeros(2) if backwards else s
    expected, state = y.clone(), s.clone()
    for t in reversed(range(time)) if backwards else range(time):
        state = w * state + x[t]
        expected[t] = y[t] * state
    loop = decay_backwards if backwards else decay
    for run in (Graphs(call, chunk=3).run, run_loop):
        found = y.clone()
        run(loop, (w, s.clone()), (x,), (found,), backwards)
        torch.testing.assert_close(found, expected)


def test_a_graph_serves_all_lengths_and_values_and_the_oldest_goes():
    made = []
    graphs = Graphs(lambda loop, *tensors: made.append(len(tensors[0][0])) or call(loop, *tensors), chunk=3, most=2)

    def run(time, size):
        w, x, found, whole = torch.rand(size), torch.randn(time, size), torch.ones(time, size), torch.ones(time, size)
        graphs.run(decay, (w, torch.zeros(size)), (x,), (found,), False)
        run_loop(decay, (w, torch.zeros(size)), (x,), (whole,))
        assert torch.equal(found, whole)

    for time in (7, 2, 3, 7):
        run(time, 4)
    assert made == [4]
    for size in (5, 4, 6, 4, 5):  # 6 drives out 5, which is used after 4
        run(3, size)
    assert made == [4, 5, 6, 5] and len(graphs.kept) == 2


def test_graphs_of_inference_serve_a_training(monkeypatch):
    monkeypatch.setattr(eleatt_gru, "run_loop", Graphs(call, chunk=3).run)
    torch.manual_seed(0)
    layer, x = EleAttGRU(4, 3), torch.randn(2, 5, 4)
    with torch.inference_mode():
        before = layer(x)[0]
    after = layer(x)[0]
    after.sum().backward()
    assert torch.equal(before, after) and layer.cells[0].w_x.grad.abs().sum() > 0


class InPlace(TorchDispatchMode):
    """Refuses what a captured graph cannot do: results outside the given tensors, and values on the host."""

    def __init__(self, *groups):
        super().__init__()
        self.given = {t.untyped_storage().data_ptr() for group in groups for t in group}
        self.calls = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            assert isinstance(tensor, torch.Tensor), f"{function} asks for a value"
            assert tensor.untyped_storage().data_ptr() in self.given, f"{function} allocates"
        self.calls += 1
        return result


@pytest.mark.parametrize("cell", ["eleatt", "gru"])
@pytest.mark.parametrize("batch", [2, 17])
def test_the_loops_allocate_nothing_and_ask_for_no_values(monkeypatch, cell, batch):
    seen = []

    def watched(loop, *groups):
        def replay():
            with InPlace(*groups) as mode:
                loop(*groups)
            seen.append((loop.__name__, mode.calls > 15))

        return replay

    monkeypatch.setattr(eleatt_gru, "run_loop", Graphs(watched, chunk=3).run)
    EleAttGRU(4, 3, cell=cell)(torch.randn(batch, 5, 4))[0].sum().backward()
    assert seen == [(f"_{cell}_forward", True)] * 2 + [(f"_{cell}_backward", True)] * 2


def test_what_allocates_would_be_found():
    x = torch.ones(3)
    with InPlace([x]) as mode:
        x.mul_(2)
        with pytest.raises(AssertionError, match="mul.* allocates"):
            x * 2
        with pytest.raises(AssertionError, match="asks for a value"):
            x[0].item()
    assert mode.calls > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_captured_graphs_give_what_the_cpu_gives():
    torch.manual_seed(1)
    for cell in ("eleatt", "gru"):
        here = EleAttGRU(6, 5, layers=2, cell=cell).double()
        there = copy.deepcopy(here).cuda()
        for time in (60, 7, 26):  # the first captures, the others replay
            x, lengths = torch.randn(3, time, 6, dtype=torch.float64), torch.tensor([time, 2, time - 1])
            for found, expected in zip(_results(there, x, lengths), _results(here, x, lengths), strict=True):
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def _results(layer, x, lengths):
    """Outputs, final states and all gradients, on the CPU."""
    device = next(layer.parameters()).device
    x = x.to(device).requires_grad_()
    out, final = layer(x, lengths.to(device))
    grads = torch.autograd.grad(out.sin().sum() + final.cos().sum(), [x, *layer.parameters()])
    return [t.cpu() for t in (out, final, *grads)]
