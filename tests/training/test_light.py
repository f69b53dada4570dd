"""Checkpoints to hand on: small, with all that a system needs, and as good as those that they are made from."""

import pytest
import torch

from avsr.clips.recognise import recognise
from avsr.errors import AvsrError
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.scoring.report import checkpoint_digest
from avsr.training import checkpoint, frontend, light
from avsr.training.packing import pack, unpack
from tests.clips.test_enhance import noise
from tests.media.clips import face_clip, write_clip


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work") / "exp"
    for name in ("p3d50", "eg_av", "mhca_avcrn"):
        torch.manual_seed(0)
        model = load_system(name, "tiny").model | ({"classes": 4} if name == "p3d50" else {})
        config = {"system": {"id": name, "model": model}, "train": {"seed": 3, "lr": 1.0}}
        path = folder / name / "seed0/best.pt"
        path.parent.mkdir(parents=True)
        state = build_model(model).state_dict()
        content = {"system": name, "config": config, "model": state, "optimiser": {"state": torch.zeros(9)}, "seed": 3}
        checkpoint.save(path, content)
    return folder


def test_weights_are_a_quarter_as_large_and_the_rest_is_left_out(exp, tmp_path):
    best, out = exp / "mhca_avcrn/seed0/best.pt", tmp_path / "light.pt"
    assert light.main([str(best), f"--out={out}"]) == 0
    assert light.main([str(best), f"--out={out}"]) == 2  # never written over
    content = checkpoint.read(out, "mhca_avcrn")
    assert content["origin_of_weights"]["checkpoint_digest"] == checkpoint_digest(best)
    assert "optimiser" not in content and content["config"]["train"] == {"seed": 3}
    assert out.stat().st_size < 0.35 * best.stat().st_size
    one, other = (checkpoint.load_model(path)[0].state_dict() for path in (best, out))
    for name, value in one.items():
        assert other[name].dtype == value.dtype
        if value.dim() < 2:
            torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-6)
            continue
        half_step = value.abs().flatten(1).amax(1) / 127 / 2  # of a row of weights
        assert ((other[name] - value).abs().flatten(1).amax(1) <= 1.01 * half_step + 1e-6).all(), name


def test_packed_weights_are_those_of_a_hand_made_case():
    rows = torch.zeros(3, 100)
    rows[0, :3] = torch.tensor([127.0, -63.4, 0.6])
    rows[1, 0] = -1e-3
    state = {"matrix": rows, "bias": torch.tensor([1.5]), "count": torch.tensor(7), "small": torch.full((2, 2), 0.1)}
    packed = pack(state)
    assert packed["matrix"][0].dtype == torch.int8 and packed["matrix"][0][0, :3].tolist() == [127, -63, 1]
    again = unpack(packed)
    assert again["matrix"][0, :3].tolist() == [127.0, -63.0, 1.0] and not again["matrix"][2].any()
    assert again["matrix"][1, 0] == pytest.approx(-1e-3, rel=2e-3)
    assert again["bias"].tolist() == [1.5] and again["count"] == 7 and again["count"].dtype == torch.int64
    torch.testing.assert_close(again["small"], state["small"], rtol=1e-3, atol=0)


def test_a_recogniser_has_its_front_end_inside(exp, tmp_path):
    best, lips, out = exp / "eg_av/seed0/best.pt", exp / "p3d50/seed0/best.pt", tmp_path / "alone/light.pt"
    out.parent.mkdir()
    assert light.main([str(best), f"--out={out}", f"--frontend={exp}/p3d50/seed0"]) == 0
    found, whole = light.inside(checkpoint.read(out), out), frontend.load(lips)
    crops = torch.randint(0, 256, (1, 6, 112, 112), dtype=torch.uint8)
    with torch.no_grad():
        one, other = found(crops), whole(crops)
        assert (one - other).norm() < 0.05 * other.norm()
    clip = tmp_path / "clip.mkv"
    write_clip(clip, face_clip(25), sound=noise(1.0), rate=48000, sound_codec="flac")
    recognise(clip, checkpoint=out, beam=1)  # it needs nothing beside it; without what is inside it would:
    content = checkpoint.read(out)
    del content["frontend"]
    checkpoint.save(out.with_name("blind.pt"), content)
    with pytest.raises(AvsrError, match="is no front-end"):
        recognise(clip, checkpoint=out.with_name("blind.pt"), beam=1)


def test_what_cannot_be_made_light_is_one_line(exp, tmp_path, capsys):
    recogniser, enhancer, out = exp / "eg_av/seed0/best.pt", exp / "mhca_avcrn/seed0/best.pt", tmp_path / "light.pt"
    assert light.main([str(recogniser), f"--out={out}"]) == 2
    assert "sees by a front-end, and none was given" in capsys.readouterr().err
    assert light.main([str(enhancer), f"--out={out}", f"--frontend={exp}/p3d50/seed0"]) == 2
    assert "has no use for a front-end" in capsys.readouterr().err
    content = checkpoint.read(enhancer)
    content["model"][next(iter(content["model"]))].fill_(1e9)
    large = tmp_path / "large.pt"
    checkpoint.save(large, content)
    assert light.main([str(large), f"--out={out}"]) == 1
    assert "holds numbers that half precision cannot" in capsys.readouterr().err and not out.exists()
