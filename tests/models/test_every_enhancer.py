"""What must hold of every enhancement system, in the form and at the tiny size that its YAML gives it.

Layers, masks, losses and published counts by hand are in the files of the systems (test_vse.py and so on).
"""

import pytest
import torch

from avsr.models.enhancement.avse import AVSE
from avsr.models.registry import build_model
from avsr.models.systems import load_system, system_ids
from avsr.training import checkpoint
from tests.models import enhancers
from tests.models.enhancers import batch, inputs, loss, shake, train

SYSTEMS = [name for name in system_ids() if load_system(name, "tiny").kind == "enhance"]
GATED = [name for name in SYSTEMS if name.startswith("mhca_avcrn") and name != "mhca_avcrn_wo_2stage"]
# whose estimate is the sound times something between 0 and 1
OTHERS = ("dl_avse", "l2l_faithful", "vse_f", "audio_only_crn_f", "mhca_avcrn_f")
MASKS = [name for name in SYSTEMS if not name.startswith(OTHERS)]


def make(name, **options):
    torch.manual_seed(0)
    return build_model(load_system(name, "tiny").model | options)


def test_all_are_there():
    assert len(SYSTEMS) >= 20 and {"ae_1drn", "audio_only_crn_faithful", "l2l_faithful", "vse"} <= set(SYSTEMS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_an_odd_batch_of_lengths(name):
    """Three utterances of 1, 3 and 2 slices and a rest: shapes, the rest as it came, the cells that the loss counts."""
    model = make(name).eval()
    b = batch(model, (5, 17, 11))
    model.fit_statistics([b])
    estimate = model.estimate(*inputs(model, b))
    assert estimate.shape == b["noisy_mel"].shape and torch.isfinite(estimate).all()
    total, count = model.loss(b["noisy_mel"], b["clean_mel"], b.get(model.video_input), b["frames"])
    assert torch.isfinite(total)
    if not isinstance(model, AVSE):
        assert int(count) == 4 * (5 + 17 + 11) * 80  # frame by frame, without slices
        assert not estimate[0, 20:].any()
        return
    for i, slices in enumerate((1, 3, 2)):
        torch.testing.assert_close(estimate[i, 20 * slices :], b["noisy_mel"][i, 20 * slices :], atol=0, rtol=0)
    if name == "l2l_faithful":  # windows of 400 samples that lie in 20 s frames of 160; two parts of 257 bins
        assert int(count) == sum(20 * slices - 2 for slices in (1, 3, 2)) * 2 * 257
    else:
        assert int(count) == 20 * 6 * model.bands


# Of three utterances of 10, 15 and 5 pictures, 30 in all: what layers give, of the systems whose own files do not say.
PICTURE_MAPS = [(30, 6, 40, 40), (30, 12, 20, 20), (30, 16, 10, 10), (30, 32, 5, 5)]
OVA = {f"pictures.blocks.{i}": shape for i, shape in enumerate(PICTURE_MAPS)}
L2L = {f"net.pictures.blocks.{i}": (30, c, n, n) for i, (c, n) in enumerate(((4, 40), (6, 20), (8, 10), (8, 5)))}
L2L |= {f"net.visual.convs.{i}": (3, 16, 15) for i in range(6)}
CONVS = [f"net.audio.convs.{i}" for i in range(15)]
RES_VIDEO = {f"video.convs.{i}": (3, (15, 30, 60)[(i >= 2) + (i >= 6)], 128) for i in range(9)}
LEVELS = {
    "ova": OVA | {"visual_mask": (3, 15, 80), "audio_mask": (3, 60, 80), "gate.0": (3, 60, 64), "gate": (3, 60, 80)},
    "ova_faithful": OVA | {"visual_mask": (3, 15, 161), "audio_mask": (3, 60, 161), "gate": (3, 60, 161)},
    "l2l": L2L
    | dict.fromkeys(CONVS, (3, 4, 80, 60))
    | {"net.audio": (3, 8, 80, 60), CONVS[-1]: (3, 8, 80, 60), "net.fc.2": (3, 60, 32), "net.out": (3, 60, 80)},
    "l2l_faithful": L2L
    | dict.fromkeys(CONVS, (3, 2, 257, 58))
    | {CONVS[-1]: (3, 4, 257, 58), "net.embed": (3, 15, 32), "net.fc.2": (3, 58, 24), "net.out": (3, 58, 514)},
    "ae_tcn": {"audio": (3, 60, 64), "video.fc_in": (3, 15, 96), "video.ups.0": (3, 96, 30), "video.ups.1": (3, 96, 60)}
    | {"video": (3, 60, 64), "fc1": (3, 60, 128), "fc_mask": (3, 60, 80)},
    "ae_1drn": {f"audio.convs.{i}": (3, 60, 128) for i in range(5)}
    | RES_VIDEO
    | {"audio": (3, 60, 64), "video": (3, 60, 64), "fc1": (3, 60, 128), "fc_mask": (3, 60, 80)},
}


@pytest.mark.parametrize("name", LEVELS)
def test_shapes_of_the_levels(name):
    model, found = make(name).eval(), {}
    for part in LEVELS[name]:
        model.get_submodule(part).register_forward_hook(lambda m, x, y, part=part: found.update({part: tuple(y.shape)}))
    model.estimate(*inputs(model, batch(model, (10, 15, 5))))
    assert found == LEVELS[name]


@pytest.mark.parametrize("name", SYSTEMS)
def test_padding_changes_nothing(name):
    enhancers.check_padding(make(name))


@pytest.mark.parametrize("name", SYSTEMS)
def test_checkpoint_round_trip_with_statistics(name, tmp_path):
    """Written, and built again from the configuration beside it: weights, statistics, estimate."""
    model = make(name)
    b = batch(model)
    model.fit_statistics([b])
    train(model, b, 1)
    model.eval()
    config = {"system": {"model": load_system(name, "tiny").model}}
    checkpoint.save(tmp_path / "best.pt", {"system": name, "config": config, "model": model.state_dict()})
    other, _ = checkpoint.load_model(tmp_path / "best.pt")
    states = [m.state_dict() for m in (model, other, make(name))]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    statistics = [n for n, _ in model.named_buffers() if n.endswith(("mean", "std")) and "running" not in n]
    moved = [n for n in statistics if not torch.equal(states[1][n], states[2][n])]
    assert moved or name == "audio_only_crn_faithful"  # which hears magnitudes as they are
    estimates = [m.estimate(*inputs(m, b)) for m in (model, other)]
    torch.testing.assert_close(*estimates, atol=0, rtol=0)


@pytest.mark.parametrize("name", MASKS)
def test_masks_lie_between_0_and_1(name):
    model = shake(make(name)).eval()
    b = batch(model, (10, 10))
    ratio = model.estimate(*inputs(model, b)) / b["noisy_mel"]
    assert 0 <= ratio.min() < ratio.max() <= 1


@pytest.mark.parametrize("name", GATED)
def test_gates_lie_between_0_and_1(name):
    """Of every level, at the start and after training."""
    model = make(name)
    b = batch(model, (10, 10))
    for steps in (0, 5):
        train(model.train(), b, steps)
        maps = model.eval().maps(*inputs(model, b))
        assert len(maps) == 5 and all(0 < level.gate.min() and level.gate.max() < 1 for level in maps)


FEW = {"channels": (4, 4, 8, 8, 8), "lstm": 16}
NARROW = {"hidden": 32, "stream": 32, "units": 32, "fc": 32, "dropout": 0.0}
FORMS = [name for name in SYSTEMS if name.startswith("mhca_avcrn_") and name != "mhca_avcrn_faithful"]
ABLATIONS = [(name, FEW, {"steps": 60, "frames": 5}) for name in FORMS]
AES = [(name, NARROW, {"steps": 60, "lr": 3e-3, "frames": 5}) for name in ("ae_1drn", "ae_tcn")]


@pytest.mark.parametrize(("name", "options", "how"), [*ABLATIONS, *AES], ids=str)
def test_overfits_one_batch_and_uses_the_video(name, options, how):
    """Of the systems for which their own files do not show it: pictures of the other utterance raise the error."""
    enhancers.check_overfits_and_sees(make(name, **options), **how)


def test_mhca_avcrn_as_published_trains_but_for_its_attention():
    """Without a residual alpha and beta stay at zero, where they start, and so do all that they would weigh."""
    model = make("mhca_avcrn_faithful", **FEW)
    b = enhancers.contrast(model, 5)
    model.fit_statistics([b])
    losses = train(model, b, 60)
    assert losses[-1] < 0.7 * losses[0]
    weights = {name: value for name, value in model.named_parameters() if name.endswith(("alpha", "beta"))}
    assert len(weights) == 10 and not any(value.any() for value in weights.values())


def test_vse_as_published_overfits_one_batch_and_uses_the_video():
    """It regresses dB from 0, without the mean of the sound to start from, so its rate is high; statistics are those of
    the batch, which an exchange of pictures within it keeps, as four slices make no running ones."""
    model = make("vse_faithful", dropout=0.0)
    b = enhancers.contrast(model, 10)
    model.fit_statistics([b])
    losses = train(model, b, 40, 0.05)
    assert losses[-1] < 0.15 * losses[0]
    with torch.no_grad():
        assert loss(model, b | {"crop128": b["crop128"].flip(0)}) > 5 * loss(model, b)
