"""Checkpoints to hand on: small, with all that a system needs, and as good as those that they are made from."""

import pytest
import torch

from avsr.clips.recognise import recognise
from avsr.errors import AvsrError
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.scoring.report import checkpoint_digest
from avsr.training import checkpoint, frontend, light
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


def test_weights_are_half_as_large_and_the_rest_is_left_out(exp, tmp_path):
    best, out = exp / "mhca_avcrn/seed0/best.pt", tmp_path / "light.pt"
    assert light.main([str(best), f"--out={out}"]) == 0
    assert light.main([str(best), f"--out={out}"]) == 2  # never written over
    content = checkpoint.read(out, "mhca_avcrn")
    assert content["origin_of_weights"]["checkpoint_digest"] == checkpoint_digest(best)
    assert "optimiser" not in content and content["config"]["train"] == {"seed": 3}
    assert out.stat().st_size < 0.6 * best.stat().st_size
    one, other = (checkpoint.load_model(path)[0].state_dict() for path in (best, out))
    for name, value in one.items():
        assert other[name].dtype == value.dtype
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-6)


def test_a_recogniser_has_its_front_end_inside(exp, tmp_path):
    best, lips, out = exp / "eg_av/seed0/best.pt", exp / "p3d50/seed0/best.pt", tmp_path / "alone/light.pt"
    out.parent.mkdir()
    assert light.main([str(best), f"--out={out}", f"--frontend={exp}/p3d50/seed0"]) == 0
    found, whole = light.inside(checkpoint.read(out), out), frontend.load(lips)
    crops = torch.randint(0, 256, (1, 6, 112, 112), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(found(crops), whole(crops), rtol=0.02, atol=0.02)
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
