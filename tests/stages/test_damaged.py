"""Stages that meet damaged stores and checkpoints of earlier ones: one line, exit code 1, nothing lost."""

import json
import os
import pickle
import shutil

import pytest
import torch

from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.stages import pretrain, score
from avsr.storage.arrays import Store
from avsr.training import checkpoint
from avsr.training.folder import RunFolder
from tests.stages.tiny import contents, make_noises, make_tables, make_work, one_line, run_extract, run_mix


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_a_shard_cut_short_is_refused_by_the_next_stage_and_made_again_by_its_own(tmp_path, storage, capsys):
    work, noise = make_tables(tmp_path / "work", clips=2, frames=5), make_noises(tmp_path / "noise")
    assert run_extract(work, f"--storage={storage}") == 0
    whole = contents(work / "dump/audio")
    path = work / "dump/audio/valid/wave" / ("shard-00000.h5" if storage == "hdf5" else "shard-00000.ark")
    os.truncate(path, path.stat().st_size // 2)
    damaged = contents(work / "dump/audio")
    capsys.readouterr()
    assert run_mix(work, noise) == 1
    said = one_line(capsys)
    assert said.startswith(f"mix: {path} was cut short (") and f"delete {path.parent} and run stage 3" in said
    assert contents(work / "dump/audio") == damaged
    assert run_extract(work, f"--storage={storage}") == 0
    assert contents(work / "dump/audio") == whole
    assert run_mix(work, noise) == 0


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_a_shard_of_crops_cut_short_is_refused(tmp_path, storage, capsys):
    work = make_tables(tmp_path / "work", clips=2, frames=5, storage=storage)
    path = next((work / "dump/video/test/crop80").glob("shard-00000.[ha]*"))
    os.truncate(path, path.stat().st_size - 1)
    assert run_extract(work) == 1
    assert f"{path} was cut short" in one_line(capsys)


@pytest.mark.parametrize("spoil", [b"\x00" * 60, b"\xff" * 60, b"FM \x04\x00\x00\x00\x7f" * 8])
def test_bytes_of_an_ark_that_were_changed_where_it_counts(tmp_path, spoil):
    """Cut files are seen by their size; where the size fits, a reader that cannot go on says it in one line too."""
    work = make_tables(tmp_path / "work", clips=2, frames=5, storage="ark")
    path = work / "dump/video/test/crop80/shard-00000.ark"
    data = bytearray(path.read_bytes())
    data[8 : 8 + len(spoil)] = spoil
    path.write_bytes(data)
    with pytest.raises(Exception, match="shard-00000.ark: cannot read s5-c0 .*run an earlier stage again") as error:
        Store(path.parent).read("s5-c0")
    assert type(error.value).__name__ == "AvsrError"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder after stage 4; nothing trained."""
    work = make_work(tmp_path_factory.mktemp("work"), clips=2, frames=5)
    (work / "data/splits.json").write_text(json.dumps({"protocol": "mini", "synthetic": True}))
    return work


class Evil:
    def __reduce__(self):
        return (print, ("the pickle was run",))


def sound_checkpoint(path, name):
    """A checkpoint of an untrained system."""
    system = load_system(name, "tiny")
    model = {**system.model, "classes": 6} if name == "p3d50" else system.model
    config = {"system": {"id": name, "model": model, "options": {"window": 5}}, "train": {"seed": 0}}
    checkpoint.save(path, {"system": name, "model": build_model(model).state_dict(), "config": config})
    return path


def bad_checkpoint(case, path, name):
    """A file that cannot be taken for a checkpoint of the system, and the words that say why."""
    if case == "pickle":
        path.write_bytes(pickle.dumps({"model": Evil()}))
        return "refused, it is a pickle, which could run code"
    if case == "pickle inside":
        torch.save({"format": checkpoint.FORMAT, "system": Evil()}, path)
        return "refused, it holds pickled Python objects, which could run code"
    if case == "missing":
        return "there is no such checkpoint"
    if case == "foreign":
        torch.save({"state_dict": {}}, path)
        return "not a checkpoint of this toolkit"
    sound_checkpoint(path, name)
    if case == "cut":
        os.truncate(path, path.stat().st_size - 1000)
        return "damaged or cut short"
    return f"{name} has no lip reading front-end"


@pytest.mark.parametrize("nj", ["1", "2"])
@pytest.mark.parametrize("case", ["cut", "pickle", "pickle inside", "foreign", "missing", "other system"])
def test_a_front_end_that_cannot_be_used_is_refused_by_stage_5(work, tmp_path, case, nj, capfd):
    path = tmp_path / "best.pt"
    words = bad_checkpoint(case, path, "eg_a" if case == "other system" else "p3d50")
    before = contents(work)
    code = 2 if case == "other system" else 1
    assert pretrain.main(["--work-dir", str(work), "--frontend", str(path), "--nj", nj]) == code
    said = one_line(capfd)
    assert said.startswith(f"pretrain: {path}: ") and words in said
    assert contents(work) == before


@pytest.mark.parametrize("case", ["cut", "pickle", "pickle inside", "foreign", "missing"])
def test_a_checkpoint_that_cannot_be_scored_is_refused_by_stage_9(work, tmp_path, case, capfd):
    path = tmp_path / "best.pt"
    words = bad_checkpoint(case, path, "audio_only_crn")
    before = contents(work)
    assert score.main(["--work-dir", str(work), "--checkpoint", str(path)]) == 1
    said = one_line(capfd)
    assert said.startswith(f"score: {path}: ") and words in said
    assert contents(work) == before


@pytest.mark.parametrize("kind", ["natural", "babble"])
def test_a_list_that_names_noise_which_is_not_there_is_refused_by_stage_9(work, tmp_path, kind, capfd):
    copy = shutil.copytree(work, tmp_path / "work", ignore=shutil.ignore_patterns("exp"))
    (path,) = (copy / "data/test_noisy").glob(f"{kind}_-5dB.jsonl")
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines, json.dumps(json.loads(last) | {"noise": "gone-1"})]) + "\n")
    best = sound_checkpoint(tmp_path / "best.pt", "ae_tcn" if kind == "babble" else "audio_only_crn")
    assert score.main(["--work-dir", str(copy), "--checkpoint", str(best), "--set=score.oracle=false"]) == 1
    said = one_line(capfd)
    assert said.startswith(f"score: {path}: {json.loads(last)['utt']}: noise gone-1 is not in the store of ")
    assert "run stage 4 (mix) again" in said and not (copy / "RESULTS.md").exists()


def test_a_trained_system_whose_checkpoint_is_of_another_is_refused_by_stage_9(work, tmp_path, capfd):
    folder = work / "exp/audio_only_crn/seed0"
    sound_checkpoint(folder / "best.pt", "mhca_avcrn")
    RunFolder(folder).done.touch()
    words = ["--work-dir", str(work), "--systems", "audio_only_crn", "--set=score.oracle=false"]
    assert score.main(words) == 1
    assert "a checkpoint of the system mhca_avcrn, but audio_only_crn is wanted" in one_line(capfd)
    assert not list((work / "exp/audio_only_crn").rglob("scores.tsv"))
