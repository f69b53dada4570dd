"""Lips as a checkpoint's own front-end sees them, or as stage 5 has stored them."""

import numpy as np
import torch

from avsr.models.registry import build_frontend
from avsr.models.systems import load_system
from avsr.stages.own_lips import OwnLips, lips_of
from avsr.storage.arrays import Store
from tests.stages.tiny import write_store


def test_features_are_those_of_the_front_end_inside_or_of_stage_5(tmp_path):
    draw = np.random.default_rng(0)
    crops = {utt: draw.integers(0, 256, (6, 112, 112)).astype(np.uint8) for utt in ("a", "b")}
    write_store(tmp_path / "dump/video/test/crop112", crops)
    write_store(tmp_path / "dump/video_feats/test", {"a": np.ones((6, 3), np.float32)})
    model = load_system("p3d50", "tiny").model
    torch.manual_seed(0)
    front = build_frontend(model).eval()
    inside = {"config": {"system": {"model": model}}, "model": front.state_dict()}
    found = lips_of(tmp_path, {"frontend": inside}, tmp_path / "x.pt", "cpu")
    assert isinstance(found, OwnLips) and "b" in found and "c" not in found
    with torch.no_grad():
        np.testing.assert_allclose(found.read("b"), front(torch.from_numpy(crops["b"])[None])[0].numpy(), atol=1e-6)
    stored = lips_of(tmp_path, {}, tmp_path / "x.pt", "cpu")
    assert isinstance(stored, Store) and stored.read("a").shape == (6, 3)
