"""EleAtt-GRU against a plain loop over the published equations, one clip and one gate at a time.

Every test runs twice: as on a CPU, and in chunks of steps over tensors of their own, as on CUDA.
"""

import pytest
import torch

from avsr.layers import eleatt_gru
from avsr.layers.eleatt_gru import EleAttCell, EleAttGRU
from avsr.layers.time_loop import Graphs


@pytest.fixture(autouse=True, params=["whole", "chunks"])
def way(request, monkeypatch):
    """How the loops over time run; a call of the loop stands for the replay of a captured graph."""
    if request.param == "chunks":
        graphs = Graphs(capture=lambda loop, *tensors: lambda: loop(*tensors), chunk=3)
        monkeypatch.setattr(eleatt_gru, "run_loop", graphs.run)


def reference(cell: EleAttCell, k: int, x_td: torch.Tensor) -> torch.Tensor:
    """AE-MSR appendix B for one clip through cell k of the stack: (t, d) -> (t, h)."""
    units, inputs = cell.units, cell.inputs
    w_xr, w_xz, w_xh = cell.w_x[k].split(units)
    b_r, b_z, b_h = cell.b[k].split(units)
    w_hr, w_hz = cell.w_h[k, -2 * units :].split(units)
    h, states = x_td.new_zeros(units), []
    for x in x_td:
        a = torch.ones(inputs, dtype=x.dtype)
        if cell.gated:
            a = torch.sigmoid(cell.w_xa[k] @ x + cell.w_h[k, :inputs] @ h + cell.b_a[k])
        r = torch.sigmoid(w_xr @ (a * x) + w_hr @ h + b_r)
        z = torch.sigmoid(w_xz @ (a * x) + w_hz @ h + b_z)
        new = torch.tanh(w_xh @ (a * x) + cell.w_hh[k] @ (r * h) + b_h)
        h = z * h + (1 - z) * new
        states.append(h)
    return torch.stack(states)


def disturb(module: torch.nn.Module) -> None:
    """Biases away from their uniform start, so that a mixed-up one shows."""
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)


@pytest.mark.parametrize("cell", ["eleatt", "gru"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_outputs_and_gradients_are_those_of_the_plain_loop(cell, bidirectional):
    torch.manual_seed(1)
    lengths = torch.tensor([7, 3, 1, 5])
    layer = EleAttGRU(6, 5, layers=2, bidirectional=bidirectional, cell=cell).double()
    disturb(layer)
    x = torch.randn(4, 7, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 7, layer.outputs, dtype=torch.float64)
    out, final = layer(x, lengths)
    expected, expected_final = [], []
    for clip, length in zip(x, lengths, strict=True):
        h = clip[:length]
        for number in range(2):
            both = [reference(layer.cells[number], 0, h)]
            if bidirectional:
                both.append(reference(layer.cells[number], 1, h.flip(0)).flip(0))
            h = torch.cat(both, dim=1)
        expected.append(torch.nn.functional.pad(h, (0, 0, 0, 7 - int(length))))
        expected_final.append(torch.cat([h[-1, :5], h[0, 5:]]))
    expected, expected_final = torch.stack(expected), torch.stack(expected_final)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(final, expected_final, rtol=0, atol=1e-12)
    names, values = zip(*layer.named_parameters(), ("x", x), strict=False)
    ours = torch.autograd.grad((out * weight).sum() + final.square().sum(), values, retain_graph=True)
    plain = torch.autograd.grad((expected * weight).sum() + expected_final.square().sum(), values)
    for name, a, b in zip(names, ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("cell", ["eleatt", "gru"])
def test_gradcheck(cell):
    torch.manual_seed(2)
    cells = EleAttCell(3, 4, stack=2, cell=cell).double()
    disturb(cells)
    x = torch.randn(2, 5, 2, 3, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in cells.named_parameters()]

    def run(x, *weights):
        return torch.func.functional_call(cells, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *cells.parameters()))


def test_an_open_gate_is_a_plain_cho_gru():
    torch.manual_seed(3)
    gated, plain = EleAttCell(6, 5, stack=2).double(), EleAttCell(6, 5, stack=2, cell="gru").double()
    disturb(gated)
    gated.b_a.data.fill_(100.0)  # sigmoid(100 + ...) is 1 to the last bit
    plain.load_state_dict({"w_h": gated.w_h[:, 6:], "w_hh": gated.w_hh, "w_x": gated.w_x, "b": gated.b})
    x = torch.randn(2, 9, 3, 6, dtype=torch.float64)
    torch.testing.assert_close(gated(x), plain(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("cell", ["eleatt", "gru"])
def test_single_steps_make_the_sequence(cell):
    torch.manual_seed(4)
    cells = EleAttCell(6, 5, stack=2, cell=cell)
    disturb(cells)
    x, h, steps = torch.randn(2, 9, 3, 6), torch.zeros(2, 3, 5), []
    for t in range(9):
        h = cells.step(x[:, t], h)
        steps.append(h)
    torch.testing.assert_close(cells(x), torch.stack(steps, dim=1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(512, 128), (256, 128), (384, 128), (1536, 128), (512, 256), (512, 512)])
def test_number_of_parameters(size):
    published = {
        (512, 128): 574_336,
        (256, 128): 246_400,
        (384, 128): 393_984,
        (1536, 128): 3_196_800,
        (512, 256): 984_320,
        (512, 512): 2_099_200,
    }
    d, n = size
    with torch.device("meta"):
        count = sum(p.numel() for p in EleAttGRU(d, n, bidirectional=False).parameters())
        both = sum(p.numel() for p in EleAttGRU(d, n).parameters())
    assert count == 3 * n * (d + n + 1) + d * (d + n + 1) == published[size]
    assert both == 2 * count


def test_padding_changes_nothing():
    torch.manual_seed(5)
    layer = EleAttGRU(6, 5, layers=2).eval()
    x = torch.randn(2, 8, 6)
    alone, final = layer(x[1:, :5], torch.tensor([5]))
    noise = x.clone()
    noise[1, 5:] = 1e3
    padded, finals = layer(noise, torch.tensor([8, 5]))
    torch.testing.assert_close(padded[1, :5], alone[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(finals[1], final[0], rtol=0, atol=1e-6)
    assert (padded[1, 5:] == 0).all()


def test_bf16_autocast_computes_in_float32():
    torch.manual_seed(6)
    layer = EleAttGRU(16, 8)
    x = torch.randn(2, 20, 16)
    with torch.autocast("cpu", torch.bfloat16):
        out, final = layer(x.bfloat16())
    assert out.dtype == final.dtype == torch.float32
    torch.testing.assert_close(out, layer(x.bfloat16().float())[0], rtol=0, atol=1e-6)


def test_dropout_lies_between_the_layers_only():
    layer = EleAttGRU(6, 5, layers=1, dropout=0.9)
    x = torch.randn(2, 8, 6)
    assert torch.equal(layer(x)[0], layer(x)[0])
    layer = EleAttGRU(6, 5, layers=2, dropout=0.5)
    assert not torch.equal(layer(x)[0], layer(x)[0])


@pytest.mark.parametrize("cell", ["eleatt", "gru"])
def test_a_clip_gives_the_same_in_every_size_of_batch(cell):
    """Batches of 1 to 15 lie otherwise in memory than those from 16 on, and 18 are filled up to 24."""
    torch.manual_seed(0)
    layer = EleAttGRU(6, 4, layers=2, cell=cell).double()
    x_btd, lengths_b = torch.randn(18, 7, 6, dtype=torch.float64), torch.arange(18) % 7 + 1
    grads = []
    for size in (18, 16, 8, 1):
        parts = [layer(x, n) for x, n in zip(x_btd.split(size), lengths_b.split(size), strict=True)]
        outputs, final = (torch.cat(part) for part in zip(*parts, strict=True))
        layer.zero_grad()
        (outputs.sin().sum() + final.cos().sum()).backward()
        grads.append([outputs.detach(), final.detach(), *(p.grad.clone() for p in layer.parameters())])
    for other in grads[1:]:
        for found, expected in zip(other, grads[0], strict=True):
            torch.testing.assert_close(found, expected)
