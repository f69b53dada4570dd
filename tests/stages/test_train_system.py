"""Stages 6 to 8 before a training starts: what they need, and which trainings are theirs."""

import argparse
from pathlib import Path

import pytest
import torch

from avsr.errors import AvsrError, UsageError
from avsr.features.mel import AVSE_SETS
from avsr.models.enhancement.avse import AVSE
from avsr.models.registry import KINDS, build_model, video_of
from avsr.models.systems import load_system, system_ids
from avsr.stages import train_system
from avsr.stages.score import system_mel_set
from avsr.stages.train_system import TrainStageConf, inputs_of, plan
from avsr.storage.arrays import finish_store
from avsr.storage.atomic import write_json, write_text
from avsr.storage.datadir import Utterance, write_datadir
from avsr.training.folder import RunFolder


def planned(work, name, conf=None):
    system, conf = load_system(name, "tiny"), conf or TrainStageConf()
    return plan(system, conf, work, 0, "cpu", inputs_of(system, conf, work, 0))


def test_a_joint_system_names_the_part_that_is_missing_or_unfinished(tmp_path):
    enhancer, recogniser = tmp_path / "exp/ae_tcn/seed0", tmp_path / "exp/eg_a/seed0"
    with pytest.raises(AvsrError, match=r"ae_tcn/seed0/best.pt is missing: stage 6 \(enhance\) makes it for ae_tcn"):
        planned(tmp_path, "eg_va_tcn")
    write_text(enhancer / "best.pt", "")
    with pytest.raises(AvsrError, match=r"best-sentences.pt is missing: stage 7 \(recognise\) makes it for eg_a"):
        planned(tmp_path, "eg_va_tcn")
    write_text(recogniser / "best-sentences.pt", "")
    write_json(enhancer / "done.json", {"digest": "a"})
    with pytest.raises(AvsrError, match="eg_a/seed0/done.json is missing: the training there was not finished"):
        planned(tmp_path, "eg_va_tcn")
    write_json(recogniser / "done.json", {"digest": "b"})
    job = planned(tmp_path, "eg_va_tcn")
    assert job.args["described"]["inputs"] == ["a", "b"]
    assert job.args["start_from"] == {
        "enhancer": f"{enhancer}/best.pt",
        "recogniser": f"{recogniser}/best-sentences.pt",
    }


@pytest.fixture
def mixed(tmp_path):
    """A work folder in which stages 1 to 5 were run, of empty stores."""
    finish_store(tmp_path / "dump/noise", "hdf5", {}, {})
    write_text(tmp_path / "data/noise_splits.json", "{}")
    for split in ("train", "valid"):
        for store in ("audio/{}/wave", "video/{}/crop80", "video/{}/crop128", "video_feats/{}", "babble/{}"):
            finish_store(tmp_path / "dump" / store.format(split), "hdf5", {}, {})
        for table in ("text", "ctm"):
            write_text(tmp_path / "data" / split / table, "")
    for name in ("clean", "babble", "train_like"):
        write_text(tmp_path / f"data/valid_noisy/{name}.jsonl", "")
    return tmp_path


SOUND = {"dump/noise", "data/noise_splits.json", "dump/audio/train/wave", "dump/babble/valid"}


@pytest.mark.parametrize(
    ("name", "made_from", "other"),
    [
        ("audio_only_crn", {*SOUND, "data/valid_noisy/train_like.jsonl"}, {"dump/video/train/crop80"}),
        ("mhca_avcrn", {*SOUND, "dump/video/train/crop80"}, {"dump/video_feats/train", "data/valid_noisy/clean.jsonl"}),
        ("vse_faithful", {*SOUND, "dump/video/train/crop128"}, {"dump/video/train/crop80"}),
        ("ae_tcn", {*SOUND, "dump/video_feats/valid", "data/valid_noisy/babble.jsonl"}, {"dump/video/train/crop80"}),
        ("eg_a", {*SOUND, "data/train/text", "data/valid/ctm"}, {"dump/video_feats/train"}),
        ("eg_v", {"dump/video_feats/train", "data/valid/text"}, {"dump/video/train/crop80"}),
    ],
)
def test_a_change_of_what_a_system_is_made_from_asks_for_another_training(mixed, name, made_from, other):
    def inputs():
        return planned(mixed, name).args["described"]["inputs"]

    before = inputs()
    for path in sorted(made_from | other):
        if (mixed / path).is_dir():
            finish_store(mixed / path, "hdf5", {}, {}, made_from="another")
        else:
            write_text(mixed / path, "another")
        assert (inputs() != before) is (path in made_from), path
        before = inputs()


def test_what_a_network_sees_and_hears_is_what_its_class_says():
    for name in system_ids():
        model = load_system(name, "tiny").model
        with torch.device("meta"):
            network = build_model(model)
        assert video_of(model) == getattr(network, "video_input", "crop112"), name
        if KINDS[model["type"]] == "enhance":
            found = system_mel_set(load_system(name, "tiny"))
            # systems of the enhancement tables stand in those whatever they hear
            assert found == network.mel_set or (isinstance(network, AVSE) and found in AVSE_SETS), name


def test_a_recogniser_may_start_from_those_of_sound_and_of_lips(mixed, tmp_path):
    alone = planned(tmp_path, "eg_av")
    conf = TrainStageConf(start_from={"eg_av": ("eg_a", "eg_v")})
    with pytest.raises(AvsrError, match=r"eg_a/seed0/best.pt is missing: stage 7 \(recognise\) makes it for eg_a"):
        planned(tmp_path, "eg_av", conf)
    for name in ("eg_a", "eg_v"):
        write_text(tmp_path / f"exp/{name}/seed0/best.pt", "")
        write_json(tmp_path / f"exp/{name}/seed0/done.json", {"digest": name})
    job = planned(tmp_path, "eg_av", conf)
    assert job.args["start_from"] == {
        "audio": f"{tmp_path}/exp/eg_a/seed0/best.pt",
        "video": f"{tmp_path}/exp/eg_v/seed0/best.pt",
    }
    assert job.args["described"]["inputs"] == [*alone.args["described"]["inputs"], "eg_a", "eg_v"]
    assert alone.args["start_from"] == {}


def test_what_a_recipe_sets_for_a_system_wins_over_what_it_sets_for_its_protocol():
    overrides = {"recogniser": {"lr": 2e-3, "batch": 8}, "eg_av": {"lr": 1e-3, "phases": [{"name": "fuse"}]}}
    conf = TrainStageConf(train=overrides)
    of_a, of_av = (train_system.train_conf(load_system(name, "tiny"), conf, 0) for name in ("eg_a", "eg_av"))
    assert (of_a.lr, of_a.batch, of_av.lr, of_av.batch) == (2e-3, 8, 1e-3, 8)
    assert [phase.name for phase in of_av.phases] == ["fuse"] and len(of_a.phases) > 1


def test_a_training_has_as_many_processes_as_a_recipe_sets_and_is_the_same_training(mixed):
    conf = TrainStageConf(train={"ae": {"processes": 3}})
    one, three = planned(mixed, "ae_tcn"), planned(mixed, "ae_tcn", conf)
    assert (one.processes, three.processes, three.args["train"]["processes"]) == (1, 3, 3)
    run = RunFolder(three.folder)
    write_text(run.best, "weights")
    run.finish({"system": one.args["described"], "train": one.args["train"]})
    assert planned(mixed, "ae_tcn", conf) is None  # trained before, whatever their number


def test_what_a_recipe_sets_for_a_system_of_another_stage_is_refused():
    with pytest.raises(UsageError, match=r"train: ae_tcn is trained by stage 6 \(enhance\)"):
        train_system.train_conf(load_system("eg_av", "tiny"), TrainStageConf(train={"ae_tcn": {"lr": 1e-3}}), 0)


def test_a_joint_recogniser_may_start_from_them_too(tmp_path):
    for name in ("ae_tcn", "eg_av", "eg_va_tcn", "eg_v"):
        write_text(tmp_path / f"exp/{name}/seed0/best.pt", "")
        write_json(tmp_path / f"exp/{name}/seed0/done.json", {"digest": name})
    with pytest.raises(AvsrError, match=r"eg_av was trained without a clean phase; .*: joint.start_from"):
        planned(tmp_path, "eg_vav_tcn")
    conf = TrainStageConf(start_from={"eg_vav_tcn": ("eg_va_tcn", "eg_v")})
    job = planned(tmp_path, "eg_vav_tcn", conf)
    parts = {"enhancer": "ae_tcn", "audio": "eg_va_tcn", "video": "eg_v"}
    assert job.args["start_from"] == {part: f"{tmp_path}/exp/{name}/seed0/best.pt" for part, name in parts.items()}
    assert job.args["described"]["inputs"] == [*parts.values()]
    (tmp_path / "exp/eg_va_tcn/seed0/best.pt").unlink()
    with pytest.raises(AvsrError, match=r"best.pt is missing: stage 8 \(joint\) makes it for eg_va_tcn"):
        planned(tmp_path, "eg_vav_tcn", conf)


def test_those_that_others_start_from_are_trained_first(tmp_path, monkeypatch):
    waves = []
    monkeypatch.setattr(train_system, "train_wave", lambda systems, *rest: waves.append([one.id for one in systems]))
    monkeypatch.setattr(train_system, "say_transcripts", lambda work_dir: None)
    config = tmp_path / "conf.yaml"
    config.write_text("recognise: {preset: tiny, systems: [eg_av, eg_a, eg_v], start_from: {eg_av: [eg_a, eg_v]}}\n")
    options = [f"--work-dir={tmp_path}", f"--config={config}"]
    assert train_system.train_stage("recognise", "recognise", "", options) == 0
    assert waves == [["eg_a", "eg_v"], ["eg_av"]]
    waves.clear()
    assert train_system.train_stage("recognise", "recognise", "", [*options, "--systems=eg_v"]) == 0
    assert waves == [["eg_v"], []]


def test_systems_asks_for_all_that_they_are_made_from(tmp_path, capsys):
    config = tmp_path / "conf.yaml"
    config.write_text(
        "recognise: {preset: tiny, start_from: {eg_av: [eg_a, eg_v]}}\n"
        "joint: {preset: tiny, start_from: {eg_vav_tcn: [eg_va_tcn, eg_v]}}\n"
    )
    trained = {}
    for name in ("eg_v", "eg_av", "eg_va_tcn", "eg_vav_tcn", "mhca_avcrn eg_a"):
        args = argparse.Namespace(systems=name, config=[config], sets=[])
        trained[name] = set(train_system.wanted(args))
    assert trained == {
        "eg_v": {"eg_v"},
        "eg_av": {"eg_av", "eg_a", "eg_v"},
        "eg_va_tcn": {"eg_va_tcn", "ae_tcn", "eg_a"},
        "eg_vav_tcn": {"eg_vav_tcn", "ae_tcn", "eg_va_tcn", "eg_a", "eg_v"},
        "mhca_avcrn eg_a": {"mhca_avcrn", "eg_a"},
    }


def test_a_start_for_a_system_that_is_none_is_refused(tmp_path, capsys):
    options = [f"--work-dir={tmp_path}", "--set=recognise.start_from={eg_avv: [eg_a, eg_v]}"]
    assert train_system.train_stage("recognise", "recognise", "", options) == 2
    assert "no system 'eg_avv'; near names: eg_av" in capsys.readouterr().err


@pytest.fixture
def stage_6(tmp_path, monkeypatch):
    """Runs stage 6 of a work folder in which stages 1 to 3 were run; gives its exit code and what it would train."""
    work, trained = tmp_path / "work", []
    for split in ("train", "valid"):
        write_datadir(work / "data" / split, [Utterance("s1-a", "s1", "BIN", "v.mpg", None, 1.0)])
        for store in ("audio/{}/wave", "video/{}/crop80", "video_feats/{}"):
            finish_store(work / "dump" / store.format(split), "hdf5", {}, {})
    config = tmp_path / "conf.yaml"
    config.write_text("enhance: {preset: tiny, seeds: 2, systems: [audio_only_crn, ae_tcn, mhca_avcrn]}\n")
    monkeypatch.setattr(train_system, "train_many", lambda jobs, nj: trained.extend(job.name for job in jobs))

    def run(*options, mixed=True):
        if mixed:
            finish_store(work / "dump/noise", "hdf5", {}, {})
            groups = {"groups": {"by": "speaker", "group": {}}, "tracks": []}
            for split in ("train", "valid"):
                finish_store(work / "dump/babble" / split, "hdf5", {}, groups)
        trained.clear()
        code = train_system.train_stage(
            "enhance", "enhance", "", [f"--work-dir={work}", f"--config={config}", *options]
        )
        return code, list(trained)

    return run


def test_noise_that_is_not_there_is_said_before_a_training_starts(stage_6, capsys):
    assert stage_6(mixed=False) == (1, [])
    assert capsys.readouterr().err.endswith(
        "dump/noise/store.json is missing: stage 4 (mix) makes it; run that first\n"
    )


def test_parts_train_every_system_and_seed_once(stage_6):
    code, every = stage_6()
    assert code == 0
    assert every == [f"{name} seed {seed}" for seed in (0, 1) for name in ("audio_only_crn", "ae_tcn", "mhca_avcrn")]
    parts = [stage_6(f"--shard={number}/4")[1] for number in (1, 2, 3, 4)]
    assert sorted(sum(parts, [])) == sorted(every) and all(parts)


def test_named_systems_have_seeds_of_their_own(stage_6):
    code, every = stage_6("--set=enhance.seeds=1", "--set=enhance.seeds_of={mhca_avcrn: 3, audio_only_crn: 2}")
    assert code == 0
    assert every == [
        *("audio_only_crn seed 0", "ae_tcn seed 0", "mhca_avcrn seed 0"),
        *("audio_only_crn seed 1", "mhca_avcrn seed 1", "mhca_avcrn seed 2"),
    ]


def test_a_part_has_as_many_seeds_as_the_system_made_from_it(stage_6):
    joint = "--set=joint={preset: tiny, systems: [eg_va_tcn], seeds_of: {eg_va_tcn: 3}}"
    code, every = stage_6("--set=enhance.seeds=1", joint)
    assert code == 0 and [name for name in every if name.startswith("ae_tcn")] == [f"ae_tcn seed {k}" for k in range(3)]
    sections = {
        "enhance": TrainStageConf(systems=("ae_tcn", "vse")),
        "recognise": TrainStageConf(systems=("eg_av",), start_from={"eg_av": ("eg_a", "eg_v")}, seeds_of={"eg_av": 2}),
        "joint": TrainStageConf(systems=("eg_va_tcn", "p3d50"), seeds=3),
    }
    assert train_system.seed_counts(sections, ["tm_a"]) == {
        **{"ae_tcn": 3, "vse": 1, "eg_av": 2, "eg_a": 3, "eg_v": 2, "eg_va_tcn": 3, "tm_a": 1}
    }


@pytest.mark.parametrize(
    "said, why",
    [
        ("seeds_of={mhca_avcrm: 3}", "no system 'mhca_avcrm'; near names: mhca_avcrn"),
        ("seeds_of={eg_a: 3}", "seeds_of: eg_a is trained by stage 7 (recognise)"),
        ("seeds_of={mhca_avcrn: 0}", "seeds and seeds_of count trainings, from 1 on"),
        ("seeds_of={mhca_avcrn: two}", "must be a whole number, not 'two'"),
    ],
)
def test_seeds_that_cannot_be_are_refused(stage_6, capsys, said, why):
    assert stage_6(f"--set=enhance.{said}") == (2, [])
    assert why in capsys.readouterr().err


def test_vse_as_published_is_mixed_at_0_db():
    assert train_system.noise_conf(load_system("vse_faithful"), TrainStageConf()).snr == (0.0, 0.0)
    assert train_system.noise_conf(load_system("vse"), TrainStageConf()).snr == (-10.0, 10.0)


def test_systems_draw_other_noise_and_one_system_always_the_same():
    described = {"noise": {}, "options": {"window": 9}}
    seeds = [
        train_system.make_task("lipread", None, {**described, "id": name}, Path(), seed).data.seed
        for name, seed in (("eg_a", 0), ("eg_av", 0), ("eg_a", 1), ("eg_a", 0))
    ]
    assert len(set(seeds)) == 3 and seeds[0] == seeds[3]


def test_a_part_that_needs_another_part_s_training_says_so(mixed, capsys):
    config = mixed / "conf.yaml"
    config.write_text("recognise: {preset: tiny, systems: [eg_av], start_from: {eg_av: [eg_a, eg_v]}}\n")
    write_datadir(mixed / "data/train", [Utterance("s1-a", "s1", "BIN", "v.mpg", None, 1.0)])
    for split in ("valid", "test"):
        write_datadir(mixed / "data" / split, [Utterance("s2-a", "s2", "BIN", "v.mpg", None, 1.0)])
    options = [f"--work-dir={mixed}", f"--config={config}"]
    assert train_system.train_stage("recognise", "recognise", "", [*options, "--shard=1/2"]) == 1
    said = capsys.readouterr().err
    assert "eg_a/seed0/best.pt is missing" in said and "run this part again after that" in said
