"""C3D-P3D50 and the word classifier: sizes, shapes, padding, and that they learn."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from avsr.errors import UsageError
from avsr.layers.masking import Packing
from avsr.models.lipreading.p3d50 import P3D50, P3D50Conf
from avsr.models.lipreading.word_classifier import P3D50Words, P3D50WordsConf

SMALL = P3D50Conf(width=0.125, input_size=32, zero_start=False)  # all blocks take part


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def crops(seed: int, *shape: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def test_numbers_of_parameters():
    with torch.device("meta"):
        model = P3D50Words(P3D50WordsConf())
        assert count(model.frontend) == 25_980_992
        assert count(model.dense) == 256_500
        assert count(model.recurrent.rnn) == 2 * 2 * 4 * 256 * (512 + 256 + 2)  # two layers, two directions
        assert count(model.recurrent.output) == 256_500
        assert round(count(P3D50(P3D50Conf(res5_temporal=True))) / 1e6, 2) == 28.34


@pytest.mark.parametrize("size", [32, 112])
@pytest.mark.parametrize("frames", [1, 4, 29])
def test_one_512_vector_a_frame(size, frames):
    model = P3D50(P3D50Conf(width=0.125, input_size=size)).eval()
    with torch.no_grad():
        assert model(crops(1, 2, frames, size, size)).shape == (2, frames, 512)


def test_stages_have_the_printed_sizes():
    model = P3D50(P3D50Conf(width=0.125)).eval()
    shapes = []
    for stage in model.stages:
        stage[-1].register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape)))
    with torch.no_grad():
        model(crops(1, 1, 2, 112, 112))
    assert shapes == [(2, 32, 28, 28), (2, 64, 14, 14), (2, 128, 7, 7), (2, 256, 4, 4)]


@pytest.mark.parametrize("options", [{}, {"res5_temporal": True, "temporal_pool": True}])
def test_padding_changes_nothing(options):
    model = P3D50(replace(SMALL, **options)).eval()
    clip = crops(2, 1, 5, 32, 32)
    batch = crops(3, 2, 9, 32, 32)
    batch[1, :5] = clip[0]
    with torch.no_grad():
        alone, padded = model(clip), model(batch, torch.tensor([9, 5]))
    torch.testing.assert_close(padded[1, :5], alone[0], rtol=0, atol=1e-5 * float(alone.abs().max()))
    assert (padded[1, 5:] == 0).all()


def test_batch_statistics_leave_padding_out():
    first, second = P3D50(SMALL), P3D50(SMALL)
    second.load_state_dict(first.state_dict())
    batch = crops(3, 2, 6, 32, 32)
    dirty = batch.clone()
    dirty[1, 2:] = 255
    first(batch, torch.tensor([6, 2]))
    second(dirty, torch.tensor([6, 2]))
    for (name, a), b in zip(first.named_buffers(), second.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("head", ["dense", "recurrent"])
def test_word_logits_do_not_depend_on_padding(head):
    model = P3D50Words(P3D50WordsConf(SMALL, classes=7)).eval()
    batch = crops(4, 2, 6, 32, 32)
    with torch.no_grad():
        alone = model.logits(batch[1:, :4], torch.tensor([4]), head)
        padded = model.logits(batch, torch.tensor([6, 4]), head)
    torch.testing.assert_close(padded[1], alone[0], rtol=0, atol=1e-5)


def test_unknown_heads_are_refused():
    model = P3D50Words(P3D50WordsConf(SMALL, classes=7)).eval()
    with pytest.raises(UsageError, match="head 'linear': the word classifier has the heads dense, recurrent"):
        model.logits(crops(4, 1, 3, 32, 32), torch.tensor([3]), "linear")


def test_loss_is_a_sum_of_smoothed_cross_entropies():
    model = P3D50Words(P3D50WordsConf(SMALL, classes=7)).eval()
    batch, frames, labels = crops(4, 2, 3, 32, 32), torch.tensor([3, 2]), torch.tensor([2, 6])
    with torch.no_grad():
        total, number = model.loss(batch, frames, labels, "dense")
        log_probs = model.logits(batch, frames, "dense").log_softmax(-1)
    expected = -sum(0.9 * row[label] + 0.1 * row.mean() for row, label in zip(log_probs, labels, strict=True))
    assert number == 2
    torch.testing.assert_close(total, expected)


def test_blocks_start_as_their_shortcuts():
    block = P3D50(replace(SMALL, zero_start=True)).stages[0][1].eval()  # its shortcut is the identity
    x_nchw = torch.rand(5, 32, 8, 8)
    assert torch.equal(block(x_nchw, Packing(torch.tensor([5]), 5)), x_nchw)


@pytest.mark.parametrize("head", ["dense", "recurrent"])
def test_learns_four_clips_by_heart(head):
    torch.manual_seed(5)
    model = P3D50Words(P3D50WordsConf(SMALL, classes=4, units=16, dropout=0.0)).train()
    batch, frames, labels = crops(6, 4, 4, 32, 32), torch.full((4,), 4), torch.arange(4)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(25):
        optimiser.zero_grad()
        total, number = model.loss(batch, frames, labels, head)
        (total / number).backward()
        optimiser.step()
    assert (model.logits(batch, frames, head).argmax(1) == labels).all()
