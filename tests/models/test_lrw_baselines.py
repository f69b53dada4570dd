"""The word classifiers that C3D-P3D50 is compared with on LRW: sizes, padding, and that they learn."""

import pytest
import torch

from avsr.errors import UsageError
from avsr.models.lipreading.heads import TemporalHead
from avsr.models.lipreading.multi_tower import MultiTower, MultiTowerConf
from avsr.models.lipreading.resnet34 import ResNet34, ResNet34Conf
from avsr.models.lipreading.resnet34_words import ResNet34Words, ResNet34WordsConf
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from tests.models.test_p3d50 import count, crops

SMALL = ResNet34Conf(width=0.125, features=32, input_size=32)
POST = ResNet34Conf(width=0.125, features=32, input_size=32, pre_activation=False, feature_norm=False)
TOWERS = MultiTowerConf(classes=4, width=0.125, pictures=5, input_size=56, dropout=0.0)


def test_numbers_of_parameters():
    with torch.device("meta"):
        stafylakis, petridis = ResNet34Words(ResNet34WordsConf()), build_model(load_system("petridis", "base").model)
    # the trunk of torchvision's resnet34 without its stem and fc, the stem of five frames, 512 -> 256
    assert round(count(stafylakis.frontend) / 1e6, 2) == 21.42
    assert count(stafylakis.temporal) == 655_360 + 2_621_440 + 3_072 + 262_400 + 512 + 128_500
    assert count(stafylakis.recurrent.rnn) == 2 * 4 * 256 * (256 + 256 + 2) + 2 * 4 * 256 * (512 + 256 + 2)
    assert count(petridis.recurrent.rnn) == 2 * 3 * 512 * (256 + 512 + 2) + 2 * 3 * 512 * (1024 + 512 + 2)
    assert not hasattr(petridis.frontend.feature_norm, "weight")


@pytest.mark.parametrize("conf", [SMALL, POST])
def test_padding_changes_nothing(conf):
    model = ResNet34(conf).eval()
    batch = crops(3, 2, 9, 32, 32)
    with torch.no_grad():
        alone, padded = model(batch[1:, :5]), model(batch, torch.tensor([9, 5]))
    torch.testing.assert_close(padded[1, :5], alone[0], rtol=0, atol=1e-5 * float(alone.abs().max()))
    assert (padded[1, 5:] == 0).all()


@pytest.mark.parametrize("frames", [1, 2, 3, 6, 9])
def test_the_temporal_head_does_not_depend_on_padding(frames):
    head = TemporalHead(8, 3).eval()
    torch.manual_seed(1)
    x_btd = torch.randn(2, 11, 8)
    x_btd[1, frames:] = 0
    with torch.no_grad():
        padded = head(x_btd, torch.tensor([11, frames]))
        alone = head(x_btd[1:, :frames], torch.tensor([frames]))
    torch.testing.assert_close(padded[1], alone[0])


def test_petridis_sees_the_middle():
    torch.manual_seed(1)
    model = ResNet34(ResNet34Conf(width=0.125, features=8, centre=88, input_size=44)).eval()
    inside, outside = crops(2, 1, 3, 112, 112), crops(3, 1, 3, 112, 112)
    outside[:, :, 12:100, 12:100] = inside[:, :, 12:100, 12:100]
    with torch.no_grad():
        assert torch.equal(model(inside), model(outside))
        outside[:, :, 12, 50] = 255 - outside[:, :, 12, 50]
        assert not torch.equal(model(inside), model(outside))


def test_mt_sees_the_middle_of_a_long_clip_and_black_behind_a_short_one():
    model = MultiTower(TOWERS).eval()
    clip = crops(4, 1, 9, 56, 56)
    with torch.no_grad():
        whole, middle = model.logits(clip, torch.tensor([9])), model.logits(clip[:, 2:7], torch.tensor([5]))
        torch.testing.assert_close(whole, middle)
        short = model.logits(clip[:, :3], torch.tensor([3]))
        torch.testing.assert_close(model.logits(clip, torch.tensor([3])), short)
    assert not torch.allclose(short, whole)


def test_mt_has_one_head():
    with pytest.raises(UsageError, match="head 'recurrent': MT has the head dense alone"):
        MultiTower(TOWERS).logits(crops(4, 1, 5, 56, 56), torch.tensor([5]), "recurrent")


def test_mt_has_the_sizes_of_vgg_m():
    with torch.device("meta"):
        model = MultiTower(MultiTowerConf())
    assert model.trunk[0].weight.shape == (96, 1200, 1, 1)
    assert model.dense[0].in_features == 512 * 6 * 6


@pytest.mark.parametrize(
    "name, head", [("pre", "temporal"), ("pre", "recurrent"), ("post", "recurrent"), ("mt", "dense")]
)
def test_learns_four_clips_by_heart(name, head):
    torch.manual_seed(5)
    conf = {"pre": SMALL, "post": POST}.get(name)
    model = MultiTower(TOWERS) if conf is None else ResNet34Words(ResNet34WordsConf(conf, classes=4, units=16))
    size = 56 if conf is None else 32
    batch, frames, labels = crops(6, 4, 5, size, size), torch.full((4,), 5), torch.arange(4)
    optimiser = torch.optim.Adam(model.train().parameters(), 3e-3)
    for _ in range(30):
        optimiser.zero_grad()
        total, number = model.loss(batch, frames, labels, head)
        (total / number).backward()
        optimiser.step()
    assert (model.logits(batch, frames, head).argmax(1) == labels).all()
