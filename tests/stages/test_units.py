"""Pieces of words in a work folder: trained once on its training text, carried by checkpoints."""

import json
import re
import shutil

import pytest

from avsr.errors import AvsrError
from avsr.models.systems import load_system
from avsr.pieces import Pieces, train_pieces
from avsr.scoring.results import Provenance
from avsr.stages import recognise
from avsr.stages.score_jobs import ScoreJob, run_job
from avsr.stages.train_system import TrainStageConf, inputs_of, plan, train_one
from avsr.stages.units import refuse_other_units, work_units
from avsr.storage.atomic import write_json, write_text
from avsr.text import Characters
from avsr.training import checkpoint
from avsr.training.conf import TrainConf
from avsr.training.folder import RunFolder, resolved
from tests.stages.tiny import SENTENCES, make_work, one_line

FAST = {"batch": 4, "epochs": 1, "precision": "fp32", "channels_last": False, "workers": 0}
FAST |= {"epoch_examples": None, "tensorboard": False}
PHASES = [{"name": "sentences", "keep": True, "options": {"words": None}}]
TRAIN = {"recogniser": FAST | {"phases": PHASES}, "joint": FAST}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return make_work(tmp_path_factory.mktemp("units") / "work", frames=5)


def conf_of(kind="bpe", pieces=60):
    return TrainStageConf(preset="tiny", units=kind, pieces=pieces, train=TRAIN)


def planned(work, conf, name="eg_a", seed=0):
    system = load_system(name, "tiny")
    return plan(system, conf, work, seed, "cpu", inputs_of(system, conf, work, seed))


@pytest.fixture(scope="module")
def trained(work):
    """A training of eg_a that writes pieces; its best checkpoint."""
    train_one(**planned(work, conf_of()).args)
    return RunFolder(work / "exp/eg_a/seed0").best


def test_the_model_is_of_the_training_text_and_is_made_once(work, monkeypatch):
    path = work / "data/units/bpe60.model"
    units = work_units(work, "bpe", 60)
    texts = [line.split(" ", 1)[1] for line in (work / "data/train/text").read_text().splitlines()]
    assert {*texts} == {*SENTENCES} and path.read_bytes() == train_pieces(texts, "bpe", 60)
    assert path.with_suffix(".vocab").read_text() == units.vocabulary()
    monkeypatch.setattr("avsr.stages.units.train_pieces", None)  # not called again
    assert work_units(work, "bpe", 60).model == units.model
    assert type(work_units(work, "characters", 60)) is Characters


def test_it_is_made_again_where_the_text_changes_and_goes_on_where_a_kill_left_it(tmp_path):
    text = tmp_path / "data/train/text"
    write_text(text, "".join(f"s1-{n} {line}\n" for n, line in enumerate(SENTENCES)))
    first, marker = work_units(tmp_path, "bpe", 60), tmp_path / "data/units/bpe60.json"
    marker.unlink()  # killed before it was written
    assert work_units(tmp_path, "bpe", 60).model == first.model and marker.exists()
    write_text(text, "s1-0 QUITE ANOTHER TEXT WITH OTHER WORDS THAN BEFORE\n")
    assert work_units(tmp_path, "bpe", 60).digest != first.digest


def test_a_model_of_another_recipe_in_its_place_is_refused(work, tmp_path, capsys):
    path = tmp_path / "work/data/units/bpe60.model"
    shutil.copytree(work / "data", tmp_path / "work/data")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(train_pieces(["SOME OTHER RECIPE WITH A TEXT OF ITS OWN"], "bpe", 60))
    shutil.copytree(work / "dump", tmp_path / "work/dump")
    words = [f"--work-dir={tmp_path}/work", "--set=recognise.systems=[eg_a]", "--set=recognise.preset=tiny"]
    words += ["--set=recognise.units=bpe", "--set=recognise.pieces=60"]
    assert recognise.main(words) == 1
    said = one_line(capsys)
    assert said.startswith(f"recognise: {path}: a sentencepiece model of another recipe, not trained on ")
    assert said.endswith("; delete it, stage 7 (recognise) trains this recipe's own\n")
    path.unlink()
    planned(tmp_path / "work", conf_of())
    assert path.read_bytes() == work_units(work, "bpe", 60).model


def test_too_many_pieces_are_one_line(work, capsys):
    words = [f"--work-dir={work}", "--set=recognise.systems=[eg_a]", "--set=recognise.units=unigram"]
    assert recognise.main(words) == 2
    said = r"recognise: .*/data/train/text: has too little text for 500 unigram pieces; set pieces to \d+ or fewer\n"
    assert re.fullmatch(said, one_line(capsys))


def test_characters_leave_no_trace_in_a_training(work):
    described = planned(work, conf_of("characters")).args["described"]
    assert {*described} == {"id", "model", "noise", "options", "inputs"}
    assert described["model"] == load_system("eg_a", "tiny").model


def test_a_checkpoint_decodes_with_its_own_pieces_anywhere(work, trained, tmp_path):
    units = work_units(work, "bpe", 60)
    model, content = checkpoint.load_model(trained)
    assert model.conf.classes == 60 and model.decoder.output.out_features == 60
    assert content["config"]["system"]["units"] == {"kind": "bpe", "pieces": 60, "digest": units.digest}
    shutil.copytree(work / "data", tmp_path / "data", ignore=shutil.ignore_patterns("units"))
    shutil.copytree(work / "dump", tmp_path / "dump")
    moved = tmp_path / "moved.pt"
    content = checkpoint.read(trained)
    content["model"]["decoder.output.bias"][piece := units.encode("PLACE")[-2]] = 50.0  # nothing else
    checkpoint.save(moved, content)
    origin = Provenance("mini", "tiny", "./run.sh", "abc1234", "best.pt", "0123456789ab")
    job = ScoreJob("eg_a", "recognise", 0, "clean", tmp_path, moved, origin, beam=1)
    run_job(job)
    lines = (job.folder / "hyp.trn").read_text().splitlines()
    written = units.label(piece) * 15
    assert set(written) <= set("PLACE") and lines[0] == f"{written} (s5-c0)" and len(lines) == 6


def test_a_checkpoint_with_the_pieces_of_another_recipe_is_refused(work, trained, tmp_path):
    content = checkpoint.read(trained)
    other = Pieces(train_pieces(["SOME OTHER RECIPE WITH A TEXT OF ITS OWN"], "bpe", 60))
    checkpoint.save(tmp_path / "mixed.pt", content | other.kept())
    origin = Provenance("mini", "tiny", "./run.sh", "abc1234", "best.pt", "0123456789ab")
    job = ScoreJob("eg_a", "recognise", 0, "clean", work, tmp_path / "mixed.pt", origin, beam=1)
    with pytest.raises(AvsrError, match=r"mixed.pt: holds a sentencepiece model of another recipe .*; take the check"):
        run_job(job)


def test_a_joint_system_writes_what_its_recogniser_does(work, trained):
    enhancer = work / "exp/ae_tcn/seed0"
    write_text(enhancer / "best.pt", "")
    write_json(enhancer / "done.json", {"digest": "a"})
    kept = trained.with_name("best-sentences.pt")
    for other, said in ((conf_of("characters"), "characters"), (conf_of("unigram", 50), r"50 unigram pieces \(\w+\)")):
        cure = rf"writes 60 bpe pieces \(\w+\), but eg_va_tcn, which starts from it, {said}; set joint.units and"
        with pytest.raises(AvsrError, match=f"^{kept}: {cure}"):
            planned(work, other, "eg_va_tcn")
    described = planned(work, conf_of(), "eg_va_tcn").args["described"]
    assert described["model"]["recogniser"]["classes"] == 60 and "classes" not in described["model"]
    assert described["units"]["digest"] == work_units(work, "bpe", 60).digest


def test_a_recogniser_of_both_writes_what_those_do_that_it_starts_from(work):
    conf = TrainStageConf(preset="tiny", units="bpe", pieces=60, start_from={"eg_av": ("eg_a", "eg_v")})
    for name in ("eg_a", "eg_v"):
        folder = RunFolder(work / f"exp/of_characters/{name}")
        described = {"id": name, "model": {}}
        write_text(folder.config, json.dumps(resolved(described, TrainConf())))
    starts = [work / f"exp/of_characters/{name}/best.pt" for name in conf.start_from["eg_av"]]
    refuse_other_units({"id": "eg_av"}, "recognise", starts)
    with pytest.raises(AvsrError, match="writes characters, but eg_av, .*; set recognise.units and recognise.pieces"):
        units = {"kind": "bpe", "pieces": 60, "digest": "0" * 24}
        refuse_other_units({"id": "eg_av", "units": units}, "recognise", starts)


def test_the_pieces_on_the_disk_are_those_that_a_training_was_planned_with(work, tmp_path):
    args = planned(work, conf_of(), seed=1).args
    args["described"] = args["described"] | {"units": {"kind": "bpe", "pieces": 60, "digest": "0" * 24}}
    with pytest.raises(AvsrError, match="bpe60.model: not the sentencepiece model that this training was planned with"):
        train_one(**args)
    args["described"]["units"]["pieces"] = 61
    with pytest.raises(AvsrError, match=r"bpe61.model is missing: stage 7 \(recognise\) makes it; run that first"):
        train_one(**args)
