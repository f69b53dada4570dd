"""Stage 5: front-ends from elsewhere, views of the clips, and the front-end that is handed on."""

import argparse
import json

import numpy as np
import pytest
import torch

from avsr.errors import AvsrError, UsageError
from avsr.models.registry import build_model
from avsr.stages import pretrain
from avsr.stages.pretrain import PretrainConf, chosen, make_extractor
from avsr.storage.arrays import ShardWriter, Store, finish_store
from avsr.storage.markers import mark
from avsr.training import checkpoint, frontend
from tests.stages.tiny import contents, make_tables, one_line

SMALL = {"width": 0.125, "input_size": 32}
P3D50 = {"type": "p3d50", "classes": 3, "units": 4, "frontend": SMALL}
RESNET = {"type": "resnet34", "classes": 3, "units": 4, "frontend": SMALL}
CRN = {"type": "audio_only_crn", "channels": [8, 8, 8, 8, 8]}
TOWERS = {"type": "multi_tower", "classes": 3, "width": 0.1, "input_size": 56}


@pytest.fixture
def crops(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 112, 112), np.uint8)
    with ShardWriter(tmp_path / "test/crop112", 0) as shard:
        shard.write("s1-a", pictures)
    finish_store(tmp_path / "test/crop112", "hdf5", {0: shard.index}, {})
    return tmp_path / "test/crop112"


def save(path, model: dict, accuracy: float = 0.5, name: str = "mine") -> torch.nn.Module:
    """A checkpoint of an untrained system."""
    made = build_model(model)
    config = {"system": {"id": name, "model": model}}
    content = {"system": name, "config": config, "model": made.state_dict(), "valid": {"accuracy": accuracy}}
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, content)
    return made.eval()


def expected(model, crops) -> np.ndarray:
    """Features by the word classifier's own front-end."""
    with torch.no_grad():
        return model.frontend(torch.from_numpy(crops)[None])[0].numpy()


@pytest.fixture
def work(tmp_path):
    return make_tables(tmp_path / "work", clips=1, frames=5)


def run(work, *more) -> int:
    return pretrain.main([f"--work-dir={work}", "--set=pretrain.preset=tiny", *map(str, more)])


def features(work, split="train", view="video_feats") -> Store:
    return Store(work / "dump" / view / split)


def test_features_are_those_of_the_front_end_in_eval_mode(crops, tmp_path):
    model = save(tmp_path / "best.pt", P3D50)
    found = make_extractor(crops, tmp_path / "best.pt", "cpu", False, "float32")("s1-a")["test"]
    assert found.shape == (6, 512) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected(model, Store(crops).read("s1-a")), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", [CRN, TOWERS])
def test_a_checkpoint_without_a_front_end_is_refused(work, tmp_path, model, capsys):
    save(tmp_path / "best.pt", model)
    assert run(work, "--frontend", tmp_path / "best.pt") == 2
    said = one_line(capsys)
    assert said.startswith(f"pretrain: {tmp_path}/best.pt: mine has no lip reading front-end; give a front-end file")


def test_a_folder_that_is_no_training_is_refused(work, tmp_path, capsys):
    assert run(work, "--frontend", tmp_path) == 1
    assert f"{tmp_path}: is a folder without best.pt" in one_line(capsys)


def test_without_a_front_end_no_word_times_are_asked_for(work, capsys):
    for split in ("train", "valid"):
        (work / "data" / split / "ctm").write_text("")
    assert run(work, "--set=pretrain.systems=[]", "--set=pretrain.features=null") == 0
    assert "this recipe has no front-end" in capsys.readouterr().out
    assert run(work, "--set=pretrain.systems=[]") == 1 and "ctm: has no word times" in one_line(capsys)


def test_one_part_of_a_sharded_stage_trains_and_the_others_say_so(tmp_path, capsys):
    work = make_tables(tmp_path, clips=1)
    assert run(work, "--shard=2/3") == 1
    best = work / "exp/p3d50/seed0/best.pt"
    assert one_line(capsys) == (
        f"pretrain: {best} is missing: --shard 1/3 trains it; when that has ended, run this part again\n"
    )
    assert not best.parent.exists()


def test_a_front_end_fits_every_preset_by_folder_checkpoint_or_file(work, tmp_path):
    """It comes with its configuration, so a recipe of another preset takes it: here `base`."""
    model = save(tmp_path / "run/best.pt", RESNET)
    frontend.export(tmp_path / "run/best.pt", tmp_path / "frontend.pt", {"run": "exp/mine/seed0/best.pt"})
    for given in (tmp_path / "run", tmp_path / "run/best.pt", tmp_path / "frontend.pt"):
        assert run(work, "--set=pretrain.preset=base", "--frontend", given) == 0
        store = features(work)
        assert store.meta["frontend"] == ("frontend.pt" if given.suffix and given.stem == "frontend" else "best.pt")
        pictures = Store(work / "dump/video/train/crop112").read("s1-c0")
        assert store.shape("s1-c0") == (5, 256)
        np.testing.assert_allclose(store.read("s1-c0"), expected(model, pictures), rtol=1e-4, atol=1e-5)


def test_a_front_end_file_holds_the_front_end_alone_and_says_where_it_comes_from(tmp_path):
    model = save(tmp_path / "best.pt", P3D50, accuracy=0.75, name="p3d50")
    origin = frontend.export(tmp_path / "best.pt", tmp_path / "frontend.pt", {"run": "exp/p3d50/seed0/best.pt"})
    assert origin == {"run": "exp/p3d50/seed0/best.pt", "accuracy": 0.75, "words": 3}
    content = checkpoint.read(tmp_path / "frontend.pt")
    assert (content["system"], content["origin"]) == ("p3d50", origin)
    own = model.frontend.state_dict()
    assert content["model"].keys() == own.keys() and all((content["model"][k] == own[k]).all() for k in own)


def test_a_front_end_whose_weights_do_not_fit_its_configuration(work, tmp_path, capsys):
    save(tmp_path / "best.pt", P3D50)
    content = checkpoint.read(tmp_path / "best.pt")
    content["config"]["system"]["model"]["frontend"]["width"] = 0.25
    checkpoint.save(tmp_path / "best.pt", content)
    assert run(work, "--frontend", tmp_path / "best.pt") == 1
    said = one_line(capsys)
    assert f"{tmp_path}/best.pt: does not fit this model" in said and "of other size" in said


def test_a_second_run_with_a_front_end_computes_nothing(work, tmp_path, monkeypatch):
    save(tmp_path / "best.pt", P3D50)
    arguments = ["--frontend", tmp_path / "best.pt", "--set=pretrain.views=[straight, flipped]"]
    assert run(work, *arguments) == 0
    before = contents(work)
    monkeypatch.setattr(pretrain, "make_extractor", None)  # cannot be called
    assert run(work, *arguments) == 0
    assert contents(work) == before


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_flipped_features_are_those_of_the_mirrored_training_clips(work, tmp_path, storage):
    model = save(tmp_path / "best.pt", P3D50)
    assert run(work, "--frontend", tmp_path / "best.pt", f"--storage={storage}") == 0
    before = contents(work / "dump/video_feats")
    assert not (work / "dump/video_feats_flipped").exists() and features(work).meta == {"frontend": "best.pt"}
    views = [f"--storage={storage}", "--set=pretrain.views=[straight, flipped]"]
    assert run(work, "--frontend", tmp_path / "best.pt", *views) == 0
    assert [path.parent.name for path in (work / "dump/video_feats_flipped").glob("*/store.json")] == ["train"]
    flipped = features(work, view="video_feats_flipped")
    assert flipped.keys() == features(work).keys() == ["s1-c0", "s2-c0"]
    for utt in flipped.keys():
        pictures = Store(work / "dump/video/train/crop112").read(utt)
        mirrored = expected(model, np.ascontiguousarray(pictures[:, :, ::-1]))
        np.testing.assert_allclose(flipped.read(utt), mirrored, rtol=1e-4, atol=1e-5)
        assert np.abs(features(work).read(utt) - mirrored).max() > 1e-3
    changed = {name for name, data in contents(work / "dump/video_feats").items() if before.get(name) != data}
    assert changed == {"train/store.json"} and features(work).meta["views"] == ["straight", "flipped"]
    assert run(work, "--frontend", tmp_path / "best.pt", f"--storage={storage}") == 0
    assert contents(work / "dump/video_feats") == before  # one view again: as if there had never been two


def test_views_are_shared_by_processes_and_parts(work, tmp_path, monkeypatch):
    from avsr.stages import common

    monkeypatch.setattr(common, "SHARD_SIZE", 1)
    save(tmp_path / "best.pt", P3D50)
    arguments = ["--frontend", tmp_path / "best.pt", "--set=pretrain.views=[straight, flipped]"]
    assert run(work, *arguments, "--shard=2/2") == 0
    assert not list((work / "dump").glob("video_feats*/train/store.json"))
    assert run(work, *arguments, "--shard=1/2", "--nj=2") == 0
    parts = contents(work / "dump")
    other = make_tables(tmp_path / "other", clips=1, frames=5)
    assert run(other, *arguments) == 0
    assert {name: data for name, data in contents(other / "dump").items() if ".done" not in name} == {
        name: data for name, data in parts.items() if ".done" not in name
    }


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_float16_features_are_read_as_float32(work, tmp_path, storage):
    save(tmp_path / "best.pt", P3D50)
    arguments = ["--frontend", tmp_path / "best.pt", f"--storage={storage}"]
    assert run(work, *arguments) == 0
    whole = features(work).read("s1-c0")
    assert run(work, *arguments, "--set=pretrain.feature_dtype=float16") == 0
    half = features(work).read("s1-c0")
    assert half.dtype == np.float32 and np.array_equal(half, whole.astype(np.float16).astype(np.float32))


def trained(work, system: str, model: dict, accuracy: float) -> None:
    """A finished training of a word classifier."""
    folder = work / "exp" / system / "seed0"
    save(folder / "best.pt", model, accuracy, system)
    mark(folder / "done.json", [system, accuracy], [folder / "best.pt"])


def export(work, systems) -> dict:
    """The origin of the front-end that stage 5 hands on of these finished trainings."""
    from avsr.stages.common import parser

    made = parser("pretrain", "")
    made.add_argument("--work-dir")
    args = made.parse_args([f"--work-dir={work}"])
    args.work_dir = work
    pretrain.export_best(args, pretrain.PretrainConf(systems=systems, export=True, features=None, preset="tiny"))
    return checkpoint.read(work / "exp/frontend.pt")["origin"]


def test_the_front_end_of_the_best_reader_of_words_is_handed_on_once(tmp_path, monkeypatch):
    systems = ("p3d50", "stafylakis", "petridis", "chung_mt")
    with pytest.raises(AvsrError, match="no trained system has a front-end"):
        export(tmp_path, systems)
    trained(tmp_path, "p3d50", P3D50, 0.5)
    trained(tmp_path, "chung_mt", TOWERS, 0.9)  # sees a clip as one picture: no front-end
    assert export(tmp_path, systems)["run"] == "exp/p3d50/seed0/best.pt"
    trained(tmp_path, "stafylakis", RESNET, 0.7)
    origin = export(tmp_path, systems)
    done = json.loads((tmp_path / "exp/stafylakis/seed0/done.json").read_text())
    assert origin == {"run": "exp/stafylakis/seed0/best.pt", "digest": done["digest"], "accuracy": 0.7, "words": 3}
    before = contents(tmp_path)
    monkeypatch.setattr(frontend, "export", None)  # cannot be called
    export(tmp_path, systems)
    assert contents(tmp_path) == before
    assert frontend.load(tmp_path / "exp/frontend.pt").conf.features == 256


@pytest.mark.parametrize("views", ["[flipped]", "[straight, straight]", "[]", "[flipped, straight]"])
def test_other_views_are_refused(work, views, capsys):
    assert run(work, f"--set=pretrain.views={views}") == 2
    assert "views must be [straight] or [straight, flipped]" in one_line(capsys)


def test_build_frontend_refuses_an_unknown_key():
    from avsr.models.registry import build_frontend

    with pytest.raises(UsageError, match="unknown key 'widht'; did you mean 'width'"):
        build_frontend({"type": "p3d50", "frontend": {"widht": 1.0}})


@pytest.mark.parametrize("more", [[], ["--frontend=no-such.pt"]])
def test_systems_with_a_name_that_is_none_is_refused(tmp_path, capsys, more):
    options = [f"--work-dir={tmp_path}", "--set=pretrain.systems=[p3d50, petridis, stafylakis]"]
    assert pretrain.main([*options, *more, "--systems=eg_av petridi"]) == 2
    assert one_line(capsys).startswith("pretrain: no system 'petridi'; near names: petridis")


def test_systems_chooses_among_the_classifiers_and_keeps_what_gives_the_features():
    conf = PretrainConf(systems=("p3d50", "petridis", "stafylakis"))
    for named, names in ((None, ["p3d50", "petridis", "stafylakis"]), ("eg_av,petridis", ["p3d50", "petridis"])):
        assert chosen(argparse.Namespace(systems=named, config=[], sets=[]), conf) == names


def test_variants_of_a_recipe_are_known_to_stage_5_by_their_names_too():
    variants = {"narrow": {"extends": "p3d50", "presets": {"tiny": {"frontend": {"features": 9}}}}}
    conf = PretrainConf(systems=("narrow",), features="narrow", preset="tiny", variants=variants)
    assert conf.load("narrow").model["frontend"] == {"width": 0.125, "input_size": 56, "features": 9}
    args = argparse.Namespace(systems="other narrow", config=[], sets=["enhance.variants={other: {extends: vse}}"])
    assert chosen(args, conf) == ["narrow"]
    args.sets = []
    with pytest.raises(UsageError, match="no system 'other'"):
        chosen(args, conf)
