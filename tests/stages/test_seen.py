"""What stages 6 to 8 see of the lip features: networks of their width, views in the trainings' settings."""

import numpy as np
import pytest
import torch

from avsr.models.enhancement.ae import AeConf
from avsr.models.recognition.seq2seq import Seq2SeqConf
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.stages import pretrain
from avsr.stages.seen import WIDTH, seen_features, with_width
from avsr.stages.train_system import TrainStageConf, inputs_of, make_task, plan
from avsr.storage.arrays import Store, finish_store
from tests.stages.test_pretrain import P3D50, RESNET, save
from tests.stages.tiny import make_work


def planned(work, name):
    system, conf = load_system(name, "tiny"), TrainStageConf()
    return plan(system, conf, work, 0, "cpu", inputs_of(system, conf, work, 0)).args["described"]


def seen_by(work, path, model, views="[straight]"):
    """Stage 5 with a front-end."""
    save(path, model)
    words = [f"--work-dir={work}", f"--frontend={path}", f"--set=pretrain.views={views}"]
    assert pretrain.main(words) == 0


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return make_work(tmp_path_factory.mktemp("work"), clips=1, frames=5)


def test_the_usual_width_is_the_default_of_every_network():
    assert AeConf().video == Seq2SeqConf().video == P3D50["frontend"].get("features", WIDTH) == WIDTH


@pytest.mark.parametrize("name", ["ae_tcn", "ae_1drn", "eg_v", "eg_av", "tm_av", "eg_va_tcn", "tm_vav_1drn"])
def test_networks_are_built_for_features_of_another_width(name):
    model = load_system(name, "tiny").model
    assert with_width(model, WIDTH) == model
    fit = with_width(model, 24)
    network = build_model(fit).eval()
    frames_b, mel_btf, feats_btd = torch.tensor([5]), torch.rand(1, 20, 80), torch.randn(1, 5, 24)
    with torch.no_grad():
        if hasattr(network, "estimate"):
            assert network.estimate(mel_btf, feats_btd, frames_b).shape == (1, 20, 80)
        else:
            network.encode(mel_btf, feats_btd, frames_b)


@pytest.mark.parametrize("name", ["audio_only_crn", "mhca_avcrn", "eg_a", "tm_a"])
def test_those_that_see_no_features_stay_as_they_are(name):
    model = load_system(name, "tiny").model
    assert with_width(model, 24) == model


def test_in_a_joint_system_only_the_parts_that_see_are_changed():
    fit = with_width(load_system("eg_va_tcn", "tiny").model, 24)
    assert fit["enhancer"]["video"] == 24 and "video" not in fit["recogniser"]


def test_trainings_follow_the_front_end_and_its_views(mixed, tmp_path):
    seen_by(mixed, tmp_path / "a/best.pt", P3D50)
    alone = {name: planned(mixed, name) for name in ("ae_tcn", "eg_a", "eg_v")}
    assert alone["ae_tcn"]["model"] == load_system("ae_tcn", "tiny").model  # nothing is added to what it was
    assert all(described["options"] == {} for described in alone.values())
    seen_by(mixed, tmp_path / "a/best.pt", P3D50, "[straight, flipped]")
    flipped = Store(mixed / "dump/video_feats_flipped/train").digest
    both = {name: planned(mixed, name) for name in alone}
    assert both["eg_a"] == alone["eg_a"]  # it sees nothing
    for name in ("ae_tcn", "eg_v"):
        assert both[name]["options"] == {"views": ["straight", "flipped"]} and both[name]["inputs"][-1] == flipped
    finish_store(mixed / "dump/video_feats_flipped/train", "hdf5", {}, {}, made_from="another")
    assert planned(mixed, "eg_v") != both["eg_v"]
    seen_by(mixed, tmp_path / "b/best.pt", RESNET)
    assert planned(mixed, "eg_v")["model"]["video"] == 256 and planned(mixed, "eg_v")["options"] == {}
    assert "video" not in planned(mixed, "eg_a")["model"]


def test_nothing_is_said_before_stage_5(tmp_path):
    model = load_system("eg_vav_tcn", "tiny").model
    assert seen_features(model, tmp_path) == (model, {}, [])


@pytest.mark.parametrize(("kind", "name"), [("enhance", "ae_tcn"), ("recognise", "eg_v")])
def test_a_training_draws_the_views_that_its_settings_name(mixed, tmp_path, kind, name):
    seen_by(mixed, tmp_path / "best.pt", P3D50, "[straight, flipped]")
    described = planned(mixed, name)
    task = make_task(kind, build_model(described["model"]), described, mixed, 0)
    phase = type("Phase", (), {"name": "p", "options": {}})()
    stores = [Store(mixed / "dump" / folder / "train") for folder in ("video_feats", "video_feats_flipped")]
    drawn = []
    for epoch in range(12):
        examples = task.examples(phase, epoch)
        for index in range(len(examples)):
            feats, frames = examples[index]["feats"], examples.lengths[index]
            same = [np.array_equal(feats, store.read(examples.ids[index])[:frames]) for store in stores]
            assert sum(same) == 1
            drawn.append(same[1])
    assert 0.2 < np.mean(drawn) < 0.8
    again = task.examples(phase, 3)
    assert all(np.array_equal(again[k]["feats"], task.examples(phase, 3)[k]["feats"]) for k in range(len(again)))
    valid = task.valid_examples(phase)
    straight = Store(mixed / "dump/video_feats/valid")
    assert all(np.array_equal(valid[k]["feats"], straight.read(valid.ids[k])) for k in range(len(valid)))
