"""EleAtt-GRU: a GRU whose input passes an element-wise attention gate (AE-MSR appendix B; Zhang et al. 2019, eq. 4-7).

    a_t = sigmoid(W_xa x_t + W_ha h_{t-1} + b_a)          one gate of the input's width, shared by all units
    u_t = a_t * x_t
    r_t = sigmoid(W_xr u_t + W_hr h_{t-1} + b_r)          z_t likewise
    c_t = tanh(W_xh u_t + W_hh (r_t * h_{t-1}) + b_h)     reset before the product (Cho et al.), unlike torch.nn.GRU
    h_t = z_t * h_{t-1} + (1 - z_t) * c_t

`cell="gru"` is the ablation a_t = 1. Independent cells over inputs of one shape (both directions of an encoder, the
modalities of a decoder) are stacked on a dimension k, so that each step is one batched product for all of them.
Within the time loops tensors are (k, width, b). From FEW utterances on they lie in memory so: matrix products with
few columns use all threads, those with few rows do not. Smaller batches lie as (k, b, width), for products of 8 or 15
columns take two to eight times as long as the same ones of as many rows; and a batch of 17 to 23 is filled up to 24.

Legend: k stacked cells, t time, b batch, d input width, h units, e any width.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from avsr.layers.masking import valid_mask
from avsr.layers.time_loop import Tensors, run_loop

Cell = Literal["eleatt", "gru"]
FEW, BLOCK = 16, 8  # utterances; measured with the BLAS of torch's CPU builds
_sigmoid_slope, _tanh_slope = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


class EleAttCell(nn.Module):
    """The weights of `stack` cells, one time step and whole sequences. Parameters of each: 3h(d+h+1) + d(d+h+1)."""

    def __init__(self, inputs: int, units: int, stack: int = 1, cell: Cell = "eleatt"):
        super().__init__()
        self.inputs, self.units, self.gated = inputs, units, cell == "eleatt"
        gate = inputs if self.gated else 0
        # Rows: gate a (where there is one), r, z of the state's products; r, z, c of the input's.
        self.w_h = nn.Parameter(torch.empty(stack, gate + 2 * units, units))
        self.w_hh = nn.Parameter(torch.empty(stack, units, units))
        self.w_x = nn.Parameter(torch.empty(stack, 3 * units, inputs))
        self.b = nn.Parameter(torch.zeros(stack, 3 * units))
        if self.gated:
            self.w_xa = nn.Parameter(torch.empty(stack, inputs, inputs))
            # Starts mostly open (0.73): a closed gate would starve the cell. The papers give no initial value.
            self.b_a = nn.Parameter(torch.ones(stack, inputs))
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Xavier for the input's matrices, orthogonal for the state's, each gate's block by itself."""
        units = self.units
        sizes = [self.inputs, units, units] if self.gated else [units, units]
        for k in range(len(self.w_x)):
            for block in self.w_x[k].split(units):
                nn.init.xavier_uniform_(block)
            for block in (*self.w_h[k].split(sizes), self.w_hh[k]):
                nn.init.orthogonal_(block)
            if self.gated:
                nn.init.xavier_uniform_(self.w_xa[k])

    def step(self, x_kbd: Tensor, h_kbh: Tensor) -> Tensor:
        """One time step: input (k, b, d) and state (k, b, h) -> new state (k, b, h)."""
        rz = 2 * self.units
        from_h = torch.bmm(h_kbh, self.w_h.mT)
        if self.gated:
            gate = torch.baddbmm(self.b_a.unsqueeze(1), x_kbd, self.w_xa.mT) + from_h[..., : self.inputs]
            x_kbd = torch.sigmoid(gate) * x_kbd
        from_x = torch.baddbmm(self.b.unsqueeze(1), x_kbd, self.w_x.mT)
        r, z = torch.sigmoid(from_x[..., :rz] + from_h[..., -rz:]).chunk(2, dim=-1)
        c = torch.tanh(torch.baddbmm(from_x[..., rz:], r * h_kbh, self.w_hh.mT))
        return torch.lerp(c, h_kbh, z)

    def forward(self, x_ktbd: Tensor) -> Tensor:
        """Whole sequences from state zero: (k, t, b, d) -> states (k, t, b, h). Reduced precision becomes float32."""
        batch = x_ktbd.shape[2]
        with torch.autocast(x_ktbd.device.type, enabled=False):
            x_ktbd = x_ktbd.to(self.w_x.dtype)
            if batch > FEW or x_ktbd.device.type != "cpu":
                x_ktbd = pad(x_ktbd, (0, 0, 0, -batch % BLOCK))
            if self.gated:
                h_ktbh = _EleAttFunction.apply(x_ktbd, self.w_xa, self.b_a, self.w_x, self.b, self.w_h, self.w_hh)
            else:
                x_ket = torch.baddbmm(self.b.unsqueeze(1), x_ktbd.flatten(1, 2), self.w_x.mT)
                h_ktbh = _GruFunction.apply(x_ket.unflatten(1, x_ktbd.shape[1:3]), self.w_h, self.w_hh)
        return h_ktbh[:, :, :batch]


class EleAttGRU(nn.Module):
    """Layers of EleAtt-GRU over padded batches, in both directions or one, with dropout between the layers.

    Output width (`outputs`): units x directions. The backward direction begins at each clip's own last frame; outputs
    behind it are zero.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        layers: int = 1,
        bidirectional: bool = True,
        cell: Cell = "eleatt",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.directions = 2 if bidirectional else 1
        self.outputs = units * self.directions
        widths = [inputs] + [self.outputs] * (layers - 1)
        self.cells = nn.ModuleList(EleAttCell(width, units, self.directions, cell) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_btd: Tensor, lengths_b: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(b, t, d) and the number of real frames of each clip (None: all t) -> outputs (b, t, units x directions)
        and the last layer's final states (b, units x directions): forward at the last frame, backward at the first."""
        batch, time = x_btd.shape[:2]
        if lengths_b is None:
            lengths_b = torch.full((batch,), time, device=x_btd.device)
        mask_tb1 = valid_mask(lengths_b, time).t().unsqueeze(-1)
        order_n = _reversal(lengths_b, time)
        x_tbd = x_btd.transpose(0, 1).contiguous()
        for number, cell in enumerate(self.cells):
            x_tbd = self.dropout(x_tbd) if number else x_tbd
            if self.directions == 1:
                h_ktbh = cell(x_tbd.unsqueeze(0))
                both = h_ktbh[0]
            else:
                h_ktbh = cell(torch.stack([x_tbd, _Reorder.apply(x_tbd, order_n)]))
                both = torch.cat([h_ktbh[0], _Reorder.apply(h_ktbh[1], order_n)], dim=-1)
            x_tbd = both * mask_tb1
        final_kbh = h_ktbh[:, lengths_b - 1, torch.arange(batch, device=x_btd.device)]
        return x_tbd.transpose(0, 1), torch.cat(final_kbh.unbind(), dim=-1)


def _reversal(lengths_b: Tensor, time: int) -> Tensor:
    """Flat indices (t * b) that turn each clip back to front within its own length; their own inverse."""
    steps_t1 = torch.arange(time, device=lengths_b.device).unsqueeze(1)
    mirrored_tb = lengths_b - 1 - steps_t1
    source_tb = torch.where(mirrored_tb >= 0, mirrored_tb, steps_t1)
    return (source_tb * len(lengths_b) + torch.arange(len(lengths_b), device=lengths_b.device)).flatten()


class _Reorder(torch.autograd.Function):
    """x (t, b, d) with its t * b rows in the order of an index that is its own inverse, so that the gradient is a copy
    in the same order (autograd's own would be a slower scattered sum)."""

    @staticmethod
    def forward(ctx, x_tbd, order_n):
        ctx.save_for_backward(order_n)
        return x_tbd.flatten(0, 1).index_select(0, order_n).view(x_tbd.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_tbd):
        (order_n,) = ctx.saved_tensors
        return grad_tbd.flatten(0, 1).index_select(0, order_n).view(grad_tbd.shape), None


class _EleAttFunction(torch.autograd.Function):
    """The recurrence, with a backward pass that leaves all weight gradients to a few large products at its end."""

    @staticmethod
    def forward(ctx, x_ktbd, w_xa, b_a, w_x, b, w_h, w_hh):
        (stack, time, batch, width), units = x_ktbd.shape, w_hh.shape[1]
        x = _laid(_to_loop(x_ktbd))
        # W_xa x for all steps at once: the only product with the input that does not wait for the state.
        gates = _new(x, time, stack, width + 2 * units, batch).zero_()
        torch.add(_to_loop(_by_cell(x_ktbd, w_xa)), b_a.unsqueeze(-1), out=gates[:, :, :width])
        cand, states = (_new(x, time, stack, units, batch) for _ in range(2))
        h, reset = torch.zeros_like(cand[0]), torch.empty_like(cand[0])
        gated, from_x = torch.empty_like(x[0]), _new(x, 1, stack, 3 * units, batch)[0]
        b = b.unsqueeze(-1).expand_as(from_x)
        run_loop(_eleatt_forward, (w_x, b, w_h, w_hh, h, gated, from_x, reset), (x,), (gates, cand, states))
        ctx.save_for_backward(x_ktbd, x, w_xa, w_x, w_h, w_hh, gates, cand, states)
        return _from_loop(states).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_ktbh):
        x_ktbd, x, w_xa, w_x, w_h, w_hh, gates, cand, states = ctx.saved_tensors
        width, units = x.shape[2], w_hh.shape[1]
        a, r, z = gates.split([width, units, units], dim=2)
        before = _previous(states)
        slopes = (_sigmoid_slope(x, a), *_slopes(before, r, z, cand))
        # Gradients before the non-linearities: a, r, z in w_h's order of rows, then c.
        grads, g_u = _new(x, *x.shape[:2], width + 3 * units, x.shape[3]), torch.empty_like(x)
        w_x_t, w_h_t, w_hh_t = (w.mT.contiguous() for w in (w_x, w_h, w_hh))
        g, d_reset = torch.zeros_like(cand[0]), torch.empty_like(cand[0])
        read = (_laid(_to_loop(grad_ktbh)), gates[:, :, width:], *slopes)
        run_loop(_eleatt_backward, (w_x_t, w_h_t, w_hh_t, g, d_reset), read, (grads, g_u), backwards=True)
        g_u.mul_(a)
        grads, before = _from_loop(grads).contiguous(), _from_loop(before).contiguous()
        g_a, g_x = grads[..., :width], grads[..., width:]
        d_x = _by_cell(g_a, w_xa.mT).add_(_from_loop(g_u))
        d_w_x = _weight_grad(g_x, x_ktbd * _from_loop(a))
        d_w_hh = _weight_grad(grads[..., -units:], before * _from_loop(r))
        d_b_a, d_b = grads.sum(dim=(1, 2)).split([width, 3 * units], dim=-1)
        return d_x, _weight_grad(g_a, x_ktbd), d_b_a, d_w_x, d_b, _weight_grad(grads[..., :-units], before), d_w_hh


class _GruFunction(torch.autograd.Function):
    """The same without a gate: the input's products (k, t, b, 3h; r, z, c) are all made before the loop."""

    @staticmethod
    def forward(ctx, x_ktbe, w_h, w_hh):
        units = w_hh.shape[1]
        gates, cand = (_laid(part) for part in _to_loop(x_ktbe).split([2 * units, units], dim=2))
        states, reset, h = torch.empty_like(cand), torch.empty_like(cand[0]), torch.zeros_like(cand[0])
        run_loop(_gru_forward, (w_h, w_hh, h, reset), (), (gates, cand, states))
        ctx.save_for_backward(w_h, w_hh, gates, cand, states)
        return _from_loop(states).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_ktbh):
        w_h, w_hh, gates, cand, states = ctx.saved_tensors
        units = w_hh.shape[1]
        r, z = gates.chunk(2, dim=2)
        before = _previous(states)
        grads = _new(gates, *gates.shape[:2], 3 * units, gates.shape[3])
        w_h_t, w_hh_t = w_h.mT.contiguous(), w_hh.mT.contiguous()
        g, d_reset = torch.zeros_like(cand[0]), torch.empty_like(cand[0])
        read = (_laid(_to_loop(grad_ktbh)), gates, *_slopes(before, r, z, cand))
        run_loop(_gru_backward, (w_h_t, w_hh_t, g, d_reset), read, (grads,), backwards=True)
        grads, before = _from_loop(grads).contiguous(), _from_loop(before).contiguous()
        d_w_hh = _weight_grad(grads[..., -units:], before * _from_loop(r))
        return grads, _weight_grad(grads[..., :-units], before), d_w_hh


def _eleatt_forward(fixed: Tensors, read: Tensors, updated: Tensors) -> None:
    """States from inputs. The rows of the gates: W_xa x + b_a becomes a; zeros become r and z."""
    (w_x, b, w_h, w_hh, h, gated, from_x, reset), (x,), (gates, cand, states) = fixed, read, updated
    width, units = x.shape[2], h.shape[1]
    x_rz, x_c = from_x.split([2 * units, units], dim=1)
    a, r, z = gates.split([width, units, units], dim=2)
    before = h
    for x_t, gates_t, a_t, rz_t, r_t, z_t, c_t, h_t in _by_step(x, gates, a, gates[:, :, width:], r, z, cand, states):
        gates_t.baddbmm_(w_h, before)
        torch.mul(a_t.sigmoid_(), x_t, out=gated)
        torch.baddbmm(b, w_x, gated, out=from_x)
        rz_t.add_(x_rz).sigmoid_()
        torch.mul(r_t, before, out=reset)
        torch.baddbmm(x_c, w_hh, reset, out=c_t).tanh_()
        before = torch.lerp(c_t, before, z_t, out=h_t)
    h.copy_(before)


def _eleatt_backward(fixed: Tensors, read: Tensors, updated: Tensors) -> None:
    """Gradients before the non-linearities (a, r, z, c) and of the gated input, from those of the states."""
    (w_x_t, w_h_t, w_hh_t, g, d_reset), (grad, rz, *slopes), (grads, g_u) = fixed, read, updated
    width, units = g_u.shape[2], g.shape[1]
    blocks = grads.split([width, units, units, units], dim=2)
    g_h, g_x = grads[:, :, : width + 2 * units], grads[:, :, width:]
    steps = _by_step(grad, *rz.chunk(2, dim=2), *slopes, *blocks, g_h, g_x, g_u)
    for grad_t, r_t, z_t, to_a, to_r, to_z, to_c, ga_t, gr_t, gz_t, gc_t, gh_t, gx_t, gu_t in reversed(steps):
        g.add_(grad_t)
        torch.mul(g, to_z, out=gz_t)
        torch.mul(g, to_c, out=gc_t)
        torch.bmm(w_hh_t, gc_t, out=d_reset)
        torch.mul(d_reset, to_r, out=gr_t)
        torch.mul(torch.bmm(w_x_t, gx_t, out=gu_t), to_a, out=ga_t)
        g.mul_(z_t).addcmul_(d_reset, r_t).baddbmm_(w_h_t, gh_t)


def _gru_forward(fixed: Tensors, read: Tensors, updated: Tensors) -> None:
    """States from the input's products, which become r and z (gates) and c (cand)."""
    (w_h, w_hh, h, reset), (gates, cand, states) = fixed, updated
    before = h
    for gates_t, r_t, z_t, c_t, h_t in _by_step(gates, *gates.chunk(2, dim=2), cand, states):
        gates_t.baddbmm_(w_h, before).sigmoid_()
        torch.mul(r_t, before, out=reset)
        c_t.baddbmm_(w_hh, reset).tanh_()
        before = torch.lerp(c_t, before, z_t, out=h_t)
    h.copy_(before)


def _gru_backward(fixed: Tensors, read: Tensors, updated: Tensors) -> None:
    """Gradients before the non-linearities (r, z, c) from those of the states."""
    (w_h_t, w_hh_t, g, d_reset), (grad, rz, *slopes), (grads,) = fixed, read, updated
    units = g.shape[1]
    steps = _by_step(grad, *rz.chunk(2, dim=2), *slopes, *grads.split(units, dim=2), grads[:, :, : 2 * units])
    for grad_t, r_t, z_t, to_r, to_z, to_c, gr_t, gz_t, gc_t, gh_t in reversed(steps):
        g.add_(grad_t)
        torch.mul(g, to_z, out=gz_t)
        torch.mul(g, to_c, out=gc_t)
        torch.bmm(w_hh_t, gc_t, out=d_reset)
        torch.mul(d_reset, to_r, out=gr_t)
        g.mul_(z_t).addcmul_(d_reset, r_t).baddbmm_(w_h_t, gh_t)


def _by_step(*tensors: Tensor) -> list[Tensors]:
    """The tensors of each step."""
    return list(zip(*(t.unbind() for t in tensors), strict=True))


def _to_loop(x_ktbe: Tensor) -> Tensor:
    """A view as the time loops want it: (k, t, b, e) -> (t, k, e, b)."""
    return x_ktbe.permute(1, 0, 3, 2)


def _laid(x_tkeb: Tensor) -> Tensor:
    """The same values in the memory order in which the loops' products are fastest."""
    few = x_tkeb.shape[3] < FEW and x_tkeb.device.type == "cpu"
    return x_tkeb.mT.contiguous().mT if few else x_tkeb.contiguous()


def _new(like: Tensor, time: int, stack: int, width: int, batch: int) -> Tensor:
    """An empty (t, k, width, b) in that order."""
    few = batch < FEW and like.device.type == "cpu"
    return like.new_empty(time, stack, batch, width).mT if few else like.new_empty(time, stack, width, batch)


def _from_loop(x_tkeb: Tensor) -> Tensor:
    """And back: (t, k, e, b) -> (k, t, b, e)."""
    return x_tkeb.permute(1, 0, 3, 2)


def _previous(states_tkhb: Tensor) -> Tensor:
    """h_{t-1} for every step, zero before the first."""
    before_tkhb = torch.empty_like(states_tkhb)
    before_tkhb[0] = 0
    before_tkhb[1:] = states_tkhb[:-1]
    return before_tkhb


def _slopes(before: Tensor, r: Tensor, z: Tensor, cand: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """d (r h) / d r's input, d h_t / d z's input, d h_t / d c's input, for all steps at once."""
    return _sigmoid_slope(before, r), _sigmoid_slope(before - cand, z), _tanh_slope(1 - z, cand)


def _by_cell(x_ktbd: Tensor, w_ked: Tensor) -> Tensor:
    """Every step's product with its cell's matrix: (k, t, b, d), (k, e, d) -> (k, t, b, e)."""
    return torch.bmm(x_ktbd.flatten(1, 2), w_ked.mT).unflatten(1, x_ktbd.shape[1:3])


def _weight_grad(grad_ktbe: Tensor, x_ktbd: Tensor) -> Tensor:
    """The gradient (k, e, d) of the matrices that made e from d: one product over all steps."""
    return torch.bmm(grad_ktbe.flatten(1, 2).mT, x_ktbd.flatten(1, 2))
