"""What stage 9 writes: the same bytes however the work is dealt out, of what is there now, and what it says."""

import json
import shutil
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch

from avsr.errors import UtteranceError
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.scoring import figures
from avsr.scoring.examples import choose
from avsr.scoring.results import Provenance, Results, Scores, read_csv, read_scores
from avsr.stages import score, score_jobs
from avsr.stages.score_jobs import ScoreJob, _enhanced, _transcripts
from avsr.stages.score_report import number_formats
from avsr.stages.shards import read_failed
from avsr.storage.arrays import Store
from avsr.storage.atomic import write_json, write_text
from avsr.storage.datadir import read_datadir
from avsr.training import checkpoint
from tests.stages.test_extract_mix import make_split, run_extract, run_mix
from tests.stages.tiny import write_store

BESIDE = ("unprocessed", "oracle", "oracle_mask")  # rows without a system
LISTS_MIXED = ("natural_-5dB", "own_-5dB", "babble_-5dB")


def test_nothing_trained_is_an_error_that_names_the_file_and_the_stage(mixed, tmp_path, capsys):
    work = tmp_path / "work"
    shutil.copytree(mixed, work)
    recipe = ["--set=enhance.systems=[mhca_avcrn, audio_only_crn]", "--set=enhance.preset=tiny"]
    assert score.main([f"--work-dir={work}", *recipe]) == 0
    said = capsys.readouterr().out
    assert f"{work}/exp/p3d50 is missing: stage 5 (pretrain) makes it; C3D-P3D50 has no row" in said
    assert f"{work}/exp/mhca_avcrn is missing: stage 6 (enhance) makes it; MHCA-AVCRN has no row" in said
    assert "audio_only_crn is missing" not in said
    assert run(work) == 0 and "is missing" not in capsys.readouterr().out  # --systems leaves the others out
    (work / "exp/audio_only_crn/seed0/done.json").unlink()
    for options in ([], ["--systems=mhca_avcrn"]):
        assert score.main([f"--work-dir={work}", *recipe, *options]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        name, stage = ("mhca_avcrn", "6 (enhance)") if options else ("p3d50", "5 (pretrain)")
        assert line.startswith(f"score: {work}/exp/{name}/seed0/best.pt is missing, and no other system of this run is")
        assert f"stage {stage} makes it for {name}; run stages 5 to 8 first" in line


def test_a_checkpoint_is_scored_where_nothing_of_the_recipe_is_trained(mixed, tmp_path, capsys):
    work, best = tmp_path / "work", mixed / "exp/audio_only_crn/seed0/best.pt"
    shutil.copytree(mixed, work, ignore=shutil.ignore_patterns("audio_only_crn"))
    assert run(work, f"--checkpoint={best}") == 0
    assert "is missing" not in capsys.readouterr().out  # its row is there
    assert any(row["system"].startswith("audio_only_crn@") for row in read_csv(work / "results.csv"))


OTHER = "mhca_avcrn_wo_2stage"  # the id of a second system; its network does not matter here
CRN = {"type": "audio_only_crn", "channels": [8, 8, 8, 8, 8]}


def trained(work, name: str, model: dict = CRN, seed: int = 0):
    """A finished training whose weights are as drawn; returns its folder."""
    folder = work / "exp" / name / f"seed{seed}"
    torch.manual_seed(seed)
    described = {"system": {"id": name, "model": model}, "train": {"seed": seed}}
    content = {"system": name, "config": described, "model": build_model(model).state_dict()}
    checkpoint.save(folder / "best.pt", content)
    write_json(folder / "done.json", {})
    return folder


def run(work, *options: str) -> int:
    """Stage 9 on the one system that is trained."""
    return score.main([f"--work-dir={work}", "--systems=audio_only_crn", *options])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A work folder after stage 4, and a system of sound alone."""
    work = tmp_path_factory.mktemp("mixed")
    for split in ("train", "valid", "test"):
        make_split(work, split)
        assert run_extract(work, split) == 0
    lists = ["--set=mix.test_snrs_enhance=[-5]", "--set=mix.test_snrs_recognise=[clean, -5]"]
    assert run_mix(work, "--set=mix.test_kinds_enhance=[natural, own]", *lists) == 0
    ids = {split: [] for split in ("train", "valid", "test")}
    write_json(work / "data/splits.json", {"protocol": "toy", "synthetic": True, **ids})
    trained(work, "audio_only_crn")
    return work


def test_the_same_bytes_for_any_number_of_processes_and_parts(mixed, tmp_path):
    made = {}
    for name, runs in (("1", [["--nj=1"]]), ("2", [["--nj=2"]]), ("parts", [["--shard=2/2"], ["--shard=1/2"]])):
        work = tmp_path / name
        shutil.copytree(mixed, work)
        before = {path for path in work.rglob("*") if path.is_file()}
        for options in runs:
            assert not (work / "RESULTS.md").exists()  # not before the last part
            assert run(work, *options) == 0
        files = [path for path in work.rglob("*") if path.is_file() and path not in before and "log" not in path.parts]
        made[name] = {str(path.relative_to(work)): path.read_bytes() for path in files}
    assert {f"exp/{row}/seed0/{name}/scores.tsv" for row in ("unprocessed", "oracle") for name in LISTS_MIXED} | {
        "RESULTS.md",
        "results.csv",
    } <= set(made["1"])
    assert made["1"] == made["2"] == made["parts"]
    rows = [row for row in read_csv(tmp_path / "1/results.csv") if row["metric"] in ("stoi", "energy_linear")]
    assert len(rows) == 2 * 3 + 3 and all(row["scored"] == row["total"] == "8" for row in rows)


def test_an_ordinary_run_in_the_folder_of_the_recipe_leaves_what_is_published(mixed, tmp_path, root):
    """The default work folder is the recipe's own; git ignores data/, dump/ and exp/ in it, and the rest stays."""
    recipe = tmp_path / "egs/mini"
    shutil.copytree(mixed, recipe, ignore=shutil.ignore_patterns("corpus", "noise_dir"))
    write_text(recipe / "conf/toy.yaml", "{}\n")
    write_text(recipe / "RESULTS.md", "published\n")
    before = {path: path.stat().st_mtime_ns for path in recipe.iterdir()}
    options = [f"--work-dir={recipe}", f"--config={recipe}/conf/toy.yaml", "--systems=audio_only_crn"]
    assert score.main(options) == 0
    assert (recipe / "RESULTS.md").read_text() == "published\n"
    assert {path.name for path in recipe.iterdir()} == {path.name for path in before} | {"exp"}
    assert "protocol toy, preset toy" in (recipe / "exp/RESULTS.md").read_text()
    for folder in ("data", "dump", "exp", "corpus"):
        assert f"/egs/*/{folder}/" in (root / ".gitignore").read_text().splitlines()
    assert score.main([*options, "--publish=true", f"--recipe-dir={recipe}"]) == 0
    assert "protocol toy, preset toy" in (recipe / "RESULTS.md").read_text()
    assert {path.name for path in recipe.iterdir()} <= {path.name for path in before} | {"exp", "figures"}


def test_results_are_written_anew_only_when_something_has_changed(mixed, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(mixed, work)

    def written(*options: str) -> bool:
        """Whether a run of stage 9 writes the page."""
        before = (work / "RESULTS.md").stat().st_mtime_ns if (work / "RESULTS.md").exists() else None
        assert run(work, *options) == 0
        return (work / "RESULTS.md").stat().st_mtime_ns != before

    assert written() and not written()
    text = (work / "RESULTS.md").read_text()
    (work / "RESULTS.md").unlink()
    assert written() and (work / "RESULTS.md").read_text() == text
    noises = work / "data/test_noisy/natural_-5dB.jsonl"
    write_text(noises, "".join(noises.read_text().splitlines(keepends=True)[:-1]))
    assert written() and not written()
    assert (work / "RESULTS.md").read_text() != text
    write_text(work / "exp/mhca_avcrn/seed0/log.csv", "phase,epoch,train_loss,valid\n")
    assert written() and not written()


def shown(work) -> set[str]:
    """The systems on the page."""
    systems = {row["system"] for row in read_csv(work / "results.csv")}
    text = (work / "RESULTS.md").read_text()
    assert ("(checkpoint " in text) == any("@" in name for name in systems)
    return {name.split("@")[0] + "@" * ("@" in name) for name in systems}


def test_a_row_of_a_checkpoint_stays_as_long_as_its_data_do(mixed, tmp_path, capsys):
    work = tmp_path / "work"
    shutil.copytree(mixed, work)
    best = trained(tmp_path, "audio_only_crn", seed=5) / "best.pt"
    everything = {*BESIDE, "audio_only_crn", "audio_only_crn@"}
    assert run(work, f"--checkpoint={best}") == 0 and shown(work) == everything
    best.unlink()
    (work / "RESULTS.md").unlink()
    assert run(work) == 0 and shown(work) == everything
    assert "left out of RESULTS.md" not in capsys.readouterr().out
    noises = work / "data/test_noisy/natural_-5dB.jsonl"
    write_text(noises, "".join(noises.read_text().splitlines(keepends=True)[:-1]))
    assert run(work) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out of RESULTS.md" in line]
    assert f"{work}/exp/audio_only_crn@" in line and line.endswith("RESULTS.md: natural_-5dB")
    sets = {row["test_set"] for row in read_csv(work / "results.csv") if "@" in row["system"]}
    assert sets == {"own_-5dB"}


def test_old_numbers_of_a_system_that_is_trained_anew_are_not_shown(mixed, tmp_path, capsys):
    work = tmp_path / "work"
    shutil.copytree(mixed, work)
    folder = trained(work, OTHER)
    options = [f"--work-dir={work}", f"--systems=audio_only_crn {OTHER}"]
    assert score.main(options) == 0 and shown(work) == {*BESIDE, "audio_only_crn", OTHER}
    assert run(work) == 0 and OTHER in shown(work)  # left out by --systems, and its numbers still hold
    (folder / "done.json").unlink()
    capsys.readouterr()
    assert score.main(options) == 0 and shown(work) == {*BESIDE, "audio_only_crn"}
    assert f"{folder}: scored with another checkpoint" in capsys.readouterr().out
    other = trained(tmp_path, OTHER, seed=1)
    shutil.copy(other / "best.pt", folder / "best.pt")
    write_json(folder / "done.json", {})
    assert run(work) == 0 and OTHER not in shown(work)  # trained anew, and not scored since
    assert score.main(options) == 0 and OTHER in shown(work)


def test_with_one_clip_nobody_elses_lips_are_shown(mixed, tmp_path, capsys):
    work = tmp_path / "work"
    shutil.copytree(mixed, work)
    lists = sorted((work / "data/test_noisy").glob("*.jsonl"))
    for path in lists:
        write_text(path, path.read_text().splitlines(keepends=True)[0])
    assert run(work, "--set=score.shuffled=[audio_only_crn]") == 0
    assert "audio_only_crn+shuffled on own_-5dB: 1 of 1 not scored (first: " in capsys.readouterr().out
    rows = [row for row in read_csv(work / "results.csv") if row["system"] == "audio_only_crn+shuffled"]
    assert {row["metric"] for row in rows} == {"stoi", "estoi", "si_sdr", "pesq_raw", "pesq_wb"}
    assert {(row["scored"], row["total"], row["note"]) for row in rows} == {("0", "1", "no other clip")}
    assert "| Audio-only CRN, shuffled video | no other clip |" in (work / "RESULTS.md").read_text()


class Seeing(torch.nn.Module):
    """A network that notes which pictures it is shown."""

    mel_set, video_input = "mel_slaney", "crop80"

    def __init__(self):
        super().__init__()
        self.shown = []

    def estimate(self, noisy_btf, video, frames_b):
        self.shown.append(int(video[0, 0, 0, 0]))
        return noisy_btf


class Pictures(dict):
    """Of each utterance its number in every pixel."""

    def read(self, utt):
        return np.full((3, 2, 2), self[utt], np.uint8)


@pytest.mark.parametrize("row", ["mhca_avcrn", "mhca_avcrn+shuffled"])
def test_the_lips_of_a_row_are_its_own_or_of_another_clip_of_the_speaker(mixed, monkeypatch, row):
    speaker_of = {utt: one.speaker for utt, one in read_datadir(mixed / "data/test").items()}
    utts = sorted(speaker_of)
    network, store = Seeing(), Pictures({utt: k for k, utt in enumerate(utts[1:], 1)})  # none of the first
    monkeypatch.setattr(score_jobs, "_load", lambda job: network)
    monkeypatch.setattr(score_jobs, "video_store", lambda *place: store)
    rows = _enhanced(ScoreJob(row, "enhance", 0, "natural_-5dB", mixed, mixed / "best.pt", None), {})
    assert [utt for utt in utts if "si_sdr" not in rows[utt]] == utts[:1]  # nor is it shown with another's lips
    shown = dict(zip(utts[1:], (utts[k] for k in network.shown), strict=True))
    assert sorted(shown.values()) == utts[1:]
    for utt, other in shown.items():
        assert (utt == other) == (row == "mhca_avcrn") and speaker_of[utt] == speaker_of[other]


class OnDevice(torch.nn.Module):
    """Networks that note where their inputs lie, and answer on the CPU."""

    mel_set, video_input, audio_input = "mel_slaney", None, True
    seen: ClassVar[set[str]] = set()

    def estimate(self, noisy_btf, video, frames_b):
        self.seen |= {noisy_btf.device.type, frames_b.device.type}
        return torch.zeros(noisy_btf.shape)

    def encode(self, noisy_btf, feats, frames_b):
        self.seen |= {noisy_btf.device.type, frames_b.device.type}
        raise UtteranceError("seen")


@pytest.mark.parametrize("kind", ["enhance", "recognise"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_networks_run_on_the_device_that_was_asked_for(mixed, monkeypatch, kind, device):
    asked, content = [], {"config": {"system": {}}}
    monkeypatch.setattr(checkpoint, "load_model", lambda path, on, system: (asked.append(on), (OnDevice(), content))[1])
    OnDevice.seen.clear()
    job = ScoreJob("x", kind, 0, "natural_-5dB", mixed, mixed / "best.pt", None, device=device)
    if kind == "enhance":
        rows = _enhanced(job, {})
        assert len(rows) == 8 and all("si_sdr" in row for row in rows.values())
    else:
        with pytest.raises(UtteranceError, match="seen"):
            _transcripts(job, {})
    assert asked == [device] and OnDevice.seen == {device}


def test_a_mel_estimate_is_drawn_beside_clean_and_noisy(mixed, tmp_path, monkeypatch):
    """TCN-AE, which hears babble alone and makes no waveform."""
    work, drawn = tmp_path / "work", []
    shutil.copytree(mixed, work)
    utts = sorted(read_datadir(work / "data/test"))
    write_store(work / "dump/video_feats/test", {utt: np.ones((30, 512), np.float32) for utt in utts})
    trained(work, "ae_tcn", load_system("ae_tcn", "tiny").model)
    draw = figures.spectrogram_panels
    monkeypatch.setattr(figures, "spectrogram_panels", lambda panels, **how: (drawn.append(panels), draw(panels))[1])
    assert score.main([f"--work-dir={work}", "--systems=ae_tcn audio_only_crn", "--set=score.oracle=false"]) == 0
    (clean, noisy, estimate), central = drawn
    assert (clean[0], noisy[0], estimate[0]) == ("clean", "noisy", "TCN-AE, mel estimate")
    utt = choose(utts)[0]
    frames = 4 * (Store(work / "dump/audio/test/wave").shape(utt)[0] // 640 // 5 * 5)
    assert clean[1].shape == noisy[1].shape == estimate[1].shape == (frames, 80)  # four frames a picture
    assert 0 < estimate[1].mean() < noisy[1].mean()  # a mask in 0..1, times the noisy magnitudes
    assert [title for title, _ in central] == ["clean", "noisy", "TCN-AE, mel estimate"]
    assert (work / "figures/toy-none/spectrograms_mel.png").exists()
    assert (work / "figures/toy-none/spectrograms_central.png").exists()
    assert f"*Utterance {utt}, babble at -5 dB: mel magnitudes (synthetic)*" in (work / "RESULTS.md").read_text()


def test_dropped_clips_are_counted(mixed, tmp_path):
    """Shares are of the split; where nothing was dropped the text is as ever."""
    work = tmp_path / "work"
    shutil.copytree(mixed, work)
    ids = {split: sorted(read_datadir(work / "data" / split)) for split in ("train", "valid", "test")}
    write_json(work / "data/splits.json", {"protocol": "toy", "synthetic": True, **ids})
    assert run(work) == 0
    assert "Utterances: 12 train, 8 valid, 8 test. Natural" in (work / "RESULTS.md").read_text()
    before = read_csv(work / "results.csv")
    write_json(work / "data/splits.json", {"protocol": "toy", "synthetic": True, **ids, "test": [*ids["test"], "s7-x"]})
    assert run(work) == 0
    text = (work / "RESULTS.md").read_text()
    assert "8 valid, 9 test, of which 1 dropped: see `failed.tsv` in `dump/video` and `dump/audio`. Natural" in text
    assert " 8/9 |" in text and " 8/8 |" not in text
    after = read_csv(work / "results.csv")
    assert {row["total"] for row in before} == {"8"}
    assert after == [{**row, "total": "9"} for row in before]


def test_no_stage_waits_for_torch_before_it_has_work_for_it():
    stages = "enhance, joint, pretrain, recognise, score, score_report, common"
    code = f"import sys; from avsr.stages import {stages}; common.check_device('cpu'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def break_rows(work, count: int) -> list[str]:
    """The first rows of a noise list name utterances that have no sound; returns these."""
    path = work / "data/test_noisy/natural_-5dB.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[:count]:
        row["utt"] = f"gone-{row['utt']}"
    write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))
    return [row["utt"] for row in rows[:count]]


def test_a_bad_utterance_is_listed_and_the_others_are_scored(mixed, tmp_path, capsys):
    work = tmp_path / "work"
    shutil.copytree(mixed, work)
    (bad,) = break_rows(work, 1)
    assert run(work) == 0  # one of eight
    said = capsys.readouterr().out
    assert f"unprocessed on natural_-5dB: 1 of 8 not scored (first: AvsrError: {work}" in said
    total = sum(len(read_scores(path).utts) for path in work.glob("exp/*/seed0/*/scores.tsv"))
    bad_ones = len(list(work.glob("exp/*/seed0/natural_-5dB")))  # it is bad for unprocessed and for the oracle
    assert f"score: {total - bad_ones} ok, {bad_ones} failed, 0 skipped" in said
    folder = work / "exp/unprocessed/seed0/natural_-5dB"
    assert [(row["utterance"], row["step"]) for row in read_failed(folder)] == [(bad, "score")]
    assert read_failed(folder.parent / "own_-5dB") == []
    scores = read_scores(folder / "scores.tsv")
    assert len(scores.utts) == 8 and set(scores.reasons) == {bad}
    rows = [row for row in read_csv(work / "results.csv") if row["metric"] == "stoi"]
    assert {(row["test_set"], row["scored"], row["total"]) for row in rows} == {
        ("natural_-5dB", "7", "8"),
        ("own_-5dB", "8", "8"),
    }
    for _ in range(2):  # the second time all is done before, and it is as bad
        assert run(work, "--max-fail-rate=0") == 3
        said = capsys.readouterr()
        assert "1 of 8 utterances failed, more than --max-fail-rate 0: see" in said.err
        assert f"score: 0 ok, {bad_ones} failed, {total - bad_ones} skipped" in said.out


def test_too_many_bad_utterances_end_the_stage_without_a_page(mixed, tmp_path, capsys):
    work = tmp_path / "work"
    shutil.copytree(mixed, work)
    break_rows(work, 2)
    assert run(work) == 3
    assert capsys.readouterr().err.count("\n") == 1 and not (work / "RESULTS.md").exists()
    assert run(work, "--max-fail-rate=0.25") == 0
    assert (work / "RESULTS.md").exists()


def test_the_number_format_of_a_training_is_read_from_its_checkpoint(tmp_path):
    for name, held in (("a", {"precision": {"dtype": "bf16", "channels_last": True}}), ("b", {})):
        checkpoint.save(tmp_path / name / "seed0/best.pt", {"system": name, **held})
    found = {}
    for name in ("a", "b", "gone", ""):
        origin = Provenance("toy", "none", "cmd", "abc", name and f"{name}/seed0/best.pt")
        found[name, "own_0dB"] = {0: Scores(("u",), {"stoi": np.ones(1)}, {}, origin)}
    assert number_formats(tmp_path, Results(found)) == {"a/seed0/best.pt": "bf16 channels_last"}
