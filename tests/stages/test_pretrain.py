"""Stage 5 with a front-end from elsewhere."""

import numpy as np
import pytest
import torch

from avsr.errors import UsageError
from avsr.models.registry import build_model
from avsr.stages import pretrain
from avsr.stages.pretrain import make_extractor
from avsr.storage.arrays import ShardWriter, finish_store
from avsr.training import checkpoint
from tests.stages.tiny import make_tables, one_line

P3D50 = {"type": "p3d50", "classes": 3, "units": 4, "frontend": {"width": 0.125, "input_size": 32}}
CRN = {"type": "audio_only_crn", "channels": [8, 8, 8, 8, 8]}


@pytest.fixture
def crops(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 112, 112), np.uint8)
    with ShardWriter(tmp_path / "test/crop112", 0) as shard:
        shard.write("s1-a", pictures)
    finish_store(tmp_path / "test/crop112", "hdf5", {0: shard.index}, {})
    return tmp_path / "test/crop112"


def save(path, model: dict) -> torch.nn.Module:
    made = build_model(model)
    config = {"system": {"id": "mine", "model": model}}
    checkpoint.save(path, {"system": "mine", "config": config, "model": made.state_dict()})
    return made.eval()


def test_features_are_those_of_the_front_end_in_eval_mode(crops, tmp_path):
    model = save(tmp_path / "best.pt", P3D50)
    features = make_extractor(crops, tmp_path / "best.pt", "cpu")("s1-a")["test"]
    with torch.no_grad():
        pictures = np.random.default_rng(0).integers(0, 256, (6, 112, 112), np.uint8)
        expected = model.frontend(torch.from_numpy(pictures)[None])[0].numpy()
    assert features.shape == (6, 512) and features.dtype == np.float32
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_a_checkpoint_without_a_front_end_is_refused(crops, tmp_path):
    save(tmp_path / "best.pt", CRN)
    with pytest.raises(UsageError, match="best.pt: holds no lip-reading front-end"):
        make_extractor(crops, tmp_path / "best.pt", "cpu")


def test_one_part_of_a_sharded_stage_trains_and_the_others_say_so(tmp_path, capsys):
    work = make_tables(tmp_path, clips=1)
    arguments = [f"--work-dir={work}", "--set=pretrain.preset=tiny"]
    assert pretrain.main([*arguments, "--shard=2/3"]) == 1
    best = work / "exp/p3d50/seed0/best.pt"
    assert one_line(capsys) == (
        f"pretrain: {best} is missing: --shard 1/3 trains it; when that has ended, run this part again\n"
    )
    assert not best.parent.exists()
