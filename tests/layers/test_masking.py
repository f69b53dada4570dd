"""Packing of real frames, and batch norm over them alone."""

import torch

from avsr.layers.masking import MaskedBatchNorm1d, Packing, valid_mask

LENGTHS = torch.tensor([3, 1, 4])


def test_mask_is_true_up_to_each_length():
    expected = [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert valid_mask(LENGTHS, 4).tolist() == [[bool(x) for x in row] for row in expected]


def test_packing_keeps_the_real_frames_in_order_and_unpacking_puts_zeros_between():
    x = torch.arange(1.0, 13.0).view(3, 4, 1)
    packing = Packing(LENGTHS, 4)
    packed = packing.pack(x)
    assert packed.flatten().tolist() == [1, 2, 3, 5, 9, 10, 11, 12]
    assert packing.unpack(packed)[..., 0].tolist() == [[1, 2, 3, 0], [5, 0, 0, 0], [9, 10, 11, 12]]


def test_packing_a_full_batch_copies_nothing():
    x = torch.randn(2, 5, 3)
    packing = Packing(torch.tensor([5, 5]), 5)
    assert packing.unpack(packing.pack(x)).data_ptr() == x.data_ptr()


def test_batch_norm_sees_real_frames_only():
    torch.manual_seed(1)
    x = torch.randn(3, 4, 2) * 3 + 1
    norm = MaskedBatchNorm1d(2, momentum=1.0)
    out = norm(x, LENGTHS)
    real = torch.cat([clip[:length] for clip, length in zip(x, LENGTHS, strict=True)])
    torch.testing.assert_close(norm.running_mean, real.mean(0))
    torch.testing.assert_close(norm.running_var, real.var(0, unbiased=True))
    expected = (real - real.mean(0)) / (real.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(torch.cat([o[:n] for o, n in zip(out, LENGTHS, strict=True)]), expected)
    assert (out[0, 3:] == 0).all() and (out[1, 1:] == 0).all()


def test_a_single_frame_is_normalised_by_the_running_statistics():
    norm = MaskedBatchNorm1d(3)
    torch.manual_seed(0)
    norm(torch.randn(4, 5, 3) * 2 + 1, torch.tensor([5, 5, 3, 1]))
    mean, count = norm.running_mean.clone(), norm.num_batches_tracked.clone()
    x_btc = torch.randn(1, 4, 3, requires_grad=True)
    found = norm(x_btc, torch.tensor([1]))
    expected = (x_btc[0, 0] - mean) / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(found[0, 0], expected)
    assert not found[0, 1:].any() and torch.equal(norm.running_mean, mean) and norm.num_batches_tracked == count
    found.sum().backward()
    assert x_btc.grad[0, 0].abs().sum() > 0
