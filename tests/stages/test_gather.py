"""Rows of elsewhere: scores that another work folder has made stand in the tables, where they were asked the same."""

import shutil

import pytest

from avsr.scoring.results import read_csv
from avsr.stages import gather, score, score_report
from avsr.storage.atomic import write_text
from tests.stages.test_score_stage import BESIDE, LISTS_MIXED, mixed, trained  # noqa: F401

OTHER = "mhca_avcrn_wo_2stage"
LOG = "step,phase,epoch,train_loss,valid,lr\n10,a,1,2.0,,0.1\n20,a,1,1.5,1.25,0.1\n"


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Figures take most of the time of a small stage 9; other tests look at them."""
    for name in ("_curves", "spectrograms", "figure3", "cost_figure", "_gains", "_seams", "_maps", "_mouths"):
        monkeypatch.setattr(score_report, name, lambda *given: [])


@pytest.fixture(scope="module")
def elsewhere(mixed, tmp_path_factory):  # noqa: F811
    """A work folder in which another system was trained and scored on the same lists."""
    work = tmp_path_factory.mktemp("other") / "elsewhere"
    shutil.copytree(mixed, work)
    write_text(trained(work, OTHER, seed=1) / "log.csv", LOG)
    assert score.main([f"--work-dir={work}", f"--systems={OTHER}"]) == 0
    return work


@pytest.fixture()
def work(mixed, tmp_path):  # noqa: F811
    """A work folder with the fixture's own system."""
    shutil.copytree(mixed, tmp_path / "work")
    return tmp_path / "work"


def run(work, *options: str) -> int:
    return score.main([f"--work-dir={work}", f"--systems=audio_only_crn {OTHER}", *options])


def values(work, system: str) -> dict:
    rows = read_csv(work / "results.csv")
    return {(row["test_set"], row["metric"]): row["value"] for row in rows if row["system"] == system}


def test_rows_of_elsewhere_stand_beside_those_of_here(elsewhere, work, capsys):
    assert run(work) == 0 and not values(work, OTHER)
    capsys.readouterr()
    assert gather.main([f"--work-dir={work}", f"--from={elsewhere}/exp"]) == 0
    found = capsys.readouterr().out
    assert "2 test sets of rows taken" in found and "7 are here already" in found  # the rows without a system
    assert run(work) == 0
    said = capsys.readouterr().out
    assert "left out" not in said and "has no row" not in said and "not finished" not in said
    assert values(work, OTHER) == values(elsewhere, OTHER) != {}
    assert values(work, "audio_only_crn")
    log = (work / f"exp/{OTHER}/seed1" / gather.TRAINING).read_text().splitlines()
    assert log == [LOG.splitlines()[0], LOG.splitlines()[2]]


@pytest.mark.parametrize("what", ["list", "transcripts", "reconstruction"])
def test_rows_that_were_asked_something_else_are_left_out(elsewhere, work, capsys, what):
    assert gather.main([f"--work-dir={work}", f"--from={elsewhere}/exp"]) == 0
    options, left_out = [], "natural_-5dB, own_-5dB"
    if what == "list":
        path = work / "data/test_noisy/own_-5dB.jsonl"
        write_text(path, "".join(path.read_text().splitlines(keepends=True)[:-1]))
        left_out = "own_-5dB"
    elif what == "transcripts":
        write_text(work / "data/test/text", (work / "data/test/text").read_text().replace(" ", " now ", 1))
    else:
        options = ["--set=score.recon=pinv"]
    assert run(work, *options) == 0
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if "left out of RESULTS.md" in line]
    assert f"{OTHER}/seed1" in line and line.endswith(f"RESULTS.md: {left_out}")
    assert {test_set for test_set, _ in values(work, OTHER)} == ({"natural_-5dB"} if what == "list" else set())


def test_what_is_trained_here_is_not_replaced(elsewhere, work, capsys):
    folder = trained(work, OTHER, seed=1)
    assert gather.main([f"--work-dir={work}", f"--from={elsewhere}/exp"]) == 0
    assert {path.name for path in folder.iterdir()} == {"best.pt", "done.json"}
    (folder / "done.json").unlink()
    assert run(work) == 0 and not values(work, OTHER)
    assert f"{folder}: the training there was not finished" in capsys.readouterr().out


def test_rows_of_elsewhere_alone_are_tabled(elsewhere, work):
    shutil.rmtree(work / "exp/audio_only_crn")
    assert run(work) == 1  # nothing is trained, and nothing was gathered
    assert gather.main([f"--work-dir={work}", f"--from={elsewhere}/exp"]) == 0
    assert run(work) == 0 and values(work, OTHER) == values(elsewhere, OTHER)


def test_published_scores_are_gathered_and_none_gets_lost(elsewhere, work, tmp_path, capsys):
    recipe = tmp_path / "egs/toy"
    write_text(recipe / "conf/toy.yaml", "score: {keep_scores: true}\n")
    publish = [f"--config={recipe}/conf/toy.yaml", "--publish=true", f"--recipe-dir={recipe}"]
    assert score.main([f"--work-dir={elsewhere}", f"--systems={OTHER}", *publish]) == 0
    kept = recipe / "scores/toy-toy"
    rows = {path.parent.relative_to(kept).as_posix() for path in kept.glob("*/*/*/scores.tsv")}
    measured = [(row, name) for row in BESIDE for name in LISTS_MIXED if row != "oracle_mask" or "babble" in name]
    own = {f"{OTHER}/seed1/{name}" for name in LISTS_MIXED[:2]}
    assert rows == own | {f"{row}/seed0/{name}" for row, name in measured}
    assert (kept / OTHER / "seed1" / gather.TRAINING).exists()
    old = (recipe / "RESULTS.md").read_text()
    capsys.readouterr()
    assert run(work, *publish) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"{kept}: holds rows that these results lack (first: {OTHER}/seed1/" in line
    assert (recipe / "RESULTS.md").read_text() == old
    assert gather.main([f"--work-dir={work}", f"--from={kept}"]) == 0
    assert run(work, *publish) == 0
    assert len(list(kept.glob("*/*/*/scores.tsv"))) == len(rows) + 2
    text = (recipe / "RESULTS.md").read_text()
    assert "| w/o 2-stage MHCA |" in text and "| Audio-only CRN |" in text


@pytest.mark.parametrize("held", ["", "damaged"])
def test_a_folder_without_scores_or_with_damaged_ones_is_refused(work, tmp_path, capsys, held):
    source = tmp_path / "source"
    source.mkdir()
    if held:
        write_text(source / "vse/seed0/own_0dB/scores.tsv", "no json\n")
    before = {path for path in work.rglob("*") if "log" not in path.parts}
    assert gather.main([f"--work-dir={work}", f"--from={source}"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith(f"gather: {source}") and ("damaged scores" in line) == bool(held)
    assert before == {path for path in work.rglob("*") if "log" not in path.parts}
