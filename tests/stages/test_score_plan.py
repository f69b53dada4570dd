"""Which measurements stage 9 plans, and how they are named."""

from argparse import Namespace

import pytest

from avsr.models.registry import KINDS, TYPES
from avsr.models.systems import load_system, system_ids
from avsr.stages import score
from avsr.stages.score import ScoreConf, plan_jobs
from avsr.stages.score_jobs import data_digest
from avsr.storage.atomic import write_json, write_text
from avsr.training import checkpoint
from tests.stages.test_score_stage import trained

LISTS = ("clean", "babble_-5dB", "speech_-5dB")


@pytest.fixture
def args(tmp_path):
    write_json(tmp_path / "data/splits.json", {"protocol": "mini", "synthetic": True})
    for name in LISTS:
        write_text(tmp_path / f"data/test_noisy/{name}.jsonl", "")
    return Namespace(work_dir=tmp_path, config=[], seed=0, systems=None, device="cpu", checkpoint=None)


def save(path, name: str, model: dict, seed: int = 3, **more) -> None:
    config = {"system": {"id": name, "model": model, **more}, "train": {"seed": seed}}
    checkpoint.save(path, {"system": name, "config": config})


@pytest.mark.parametrize(
    ("model", "kind", "sets"),
    [
        ({"type": "mhca_avcrn", "lstm": 9}, "enhance", ["speech_-5dB"]),
        ({"type": "av_se2", "domain": "magnitude"}, "enhance", ["speech_-5dB"]),
        ({"type": "ae", "hidden": 9}, "enhance", ["babble_-5dB"]),
        ({"type": "eg_seq2seq", "modality": "av"}, "recognise", ["babble_-5dB", "clean"]),
        ({"type": "eg_seq2seq", "modality": "v"}, "recognise", ["clean"]),
        ({"type": "p3d50", "classes": 3}, "lipread", ["words"]),
        ({"type": "joint", "enhancer": {"type": "ae"}, "recogniser": {}}, "joint", ["babble_-5dB", "clean"]),
    ],
)
def test_a_checkpoint_is_scored_as_what_it_says_it_is(args, tmp_path, model, kind, sets):
    """No YAML of this tree knows its id, and its presets do not matter."""
    args.checkpoint = tmp_path / "elsewhere.pt"
    save(args.checkpoint, "mine", model)
    jobs = [job for job in plan_jobs(args, ScoreConf(), []) if job.checkpoint]
    assert sorted(job.test_set for job in jobs) == sets
    assert {(job.kind, job.seed, job.row.split("@")[0]) for job in jobs} == {(kind, 3, "mine")}
    assert len({job.row for job in jobs}) == 1 and all(len(job.row) == len("mine@") + 8 for job in jobs)


@pytest.mark.parametrize(("natural", "sets"), [(1.0, ["speech_-5dB"]), (0.0, ["babble_-5dB"])])
def test_an_ae_is_scored_on_the_noise_that_it_was_trained_with(args, tmp_path, natural, sets):
    args.checkpoint = tmp_path / "elsewhere.pt"
    save(args.checkpoint, "mine", {"type": "ae"}, noise={"natural": natural, "babble": 1 - natural})
    assert [job.test_set for job in plan_jobs(args, ScoreConf(), []) if job.checkpoint] == sets


def test_a_front_end_from_elsewhere_is_not_missed(tmp_path, caplog):
    store = tmp_path / "dump/video_feats/test/store.json"
    systems = [load_system("p3d50", "tiny"), load_system("audio_only_crn", "tiny")]
    jobs = [Namespace(system="audio_only_crn", checkpoint=tmp_path / "best.pt")]
    with caplog.at_level("WARNING", "avsr"):
        score.say_untrained(tmp_path, systems, jobs, 0)
        assert len(caplog.messages) == 1 and "p3d50 is missing" in caplog.messages[0]
        write_json(store, {"meta": {"frontend": "front.pt"}})
        score.say_untrained(tmp_path, systems, jobs, 0)
    assert len(caplog.messages) == 1


def test_a_training_that_was_stopped_is_no_result(args, tmp_path, caplog):
    folder = tmp_path / "exp/mhca_avcrn/seed0"
    save(folder / "best.pt", "mhca_avcrn", {"type": "mhca_avcrn"})
    systems = [load_system("mhca_avcrn", "tiny")]
    with caplog.at_level("WARNING", "avsr"):
        assert all(job.checkpoint is None for job in plan_jobs(args, ScoreConf(), systems))
    assert caplog.messages == [f"{folder}: the training there was not finished; it is left out"]
    write_json(folder / "done.json", {})
    rows = {job.row for job in plan_jobs(args, ScoreConf(), systems) if job.checkpoint}
    assert rows == {"mhca_avcrn", "mhca_avcrn+shuffled"}


@pytest.mark.parametrize(
    "changed",
    ["data/test_noisy/clean.jsonl", "data/test/text", "dump/audio/test/wave/store.json", "dump/noise/store.json"]
    + ["dump/video/test/crop80/store.json", "dump/video_feats/test/store.json", "dump/babble/test/store.json"],
)
def test_what_was_scored_on_other_data_is_scored_anew(tmp_path, changed):
    write_text(tmp_path / "data/test_noisy/clean.jsonl", "a")
    before = data_digest(tmp_path, "clean")
    assert data_digest(tmp_path, "clean") == before
    write_text(tmp_path / changed, "b")
    assert data_digest(tmp_path, "clean") != before


def test_every_type_has_the_kind_of_its_systems():
    assert set(KINDS) == set(TYPES)
    for name in system_ids():
        system = load_system(name, "tiny")
        assert KINDS[system.model["type"]] == system.kind


def test_the_command_of_a_row_names_its_own_system_alone(args, tmp_path):
    """Not those beside it, and not what it is made from; a run of the whole recipe names none."""
    systems = [load_system(name, "tiny") for name in ("audio_only_crn", "eg_vav_tcn")]
    for one in systems:
        trained(tmp_path, one.id)
    write_json(tmp_path / "corpus/splits.json", {})
    for args.systems in ("audio_only_crn eg_vav_tcn", None):
        ends = {job.row: job.provenance.command.split(" --seed 0")[1] for job in plan_jobs(args, ScoreConf(), systems)}
        assert ends == {
            "unprocessed": ' --systems "audio_only_crn eg_vav_tcn"' if args.systems else "",
            "oracle": ' --systems "audio_only_crn eg_vav_tcn"' if args.systems else "",
            "oracle_mask": ' --systems "audio_only_crn eg_vav_tcn"' if args.systems else "",
            "audio_only_crn": ' --systems "audio_only_crn"' if args.systems else "",
            "eg_vav_tcn": ' --systems "eg_vav_tcn"' if args.systems else "",
        }


def test_the_stage_hands_its_device_on(args):
    args.device = "cuda:1"
    assert {job.device for job in plan_jobs(args, ScoreConf(), [])} == {"cuda:1"}


def test_rows_of_recognisers_say_what_they_hear_and_see():
    rows = {row.id: row for row in score.table_rows([load_system(name, "base") for name in system_ids()])}
    of = {name: (rows[name].inputs, rows[name].heard, rows[name].ours) for name in rows if rows[name].inputs}
    assert of["tm_a"] == ("A", "unprocessed", False) and of["eg_v"] == ("V", "", False)
    assert of["eg_large_av"] == ("AV", "unprocessed", True) and of["eg_gru_v"] == ("V", "", True)
    assert of["tm_va_1drn"] == ("VA", "ae_1drn", False) and of["eg_vav_tcn"] == ("VAV", "ae_tcn", False)
    assert len(of) == 20  # the 22 of the LRS3 recipe without its two AEs
