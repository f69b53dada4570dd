"""Protocol GT: who of two corpora trains, validates and tests, from fabricated listings and from files on disk."""

import json
from collections import Counter
from itertools import islice, product
from pathlib import Path

import pytest

from avsr.check import main as check
from avsr.corpora import grid, gt, splits, tcd_timit
from avsr.errors import AvsrError
from avsr.stages import prepare
from avsr.storage.datadir import read_datadir
from tests.corpora.tcd_layout import FRAMES, put_clip
from tests.stages.tiny import one_line

LETTERS = ("blps", "bgrw", "abiw", "abcdefghijklmnopqrstuvxyz", "z123456789", "anps")  # of a clip of GRID, in order
# 32 of TCD-TIMIT's 59 volunteers are men; who they are is made up here where the reader does not name them
TCD_MEN = "01 03 04 05 06 10 11 12 14 16 18 19 20 21 23 24 25 26 27 28 29 32 33 34 35 38 39 41 42 44 47 54".split()


def names(count: int) -> list[str]:
    return ["".join(letters) for letters in islice(product(*LETTERS), count)]


@pytest.fixture(scope="module")
def talkers() -> dict[str, list[grid.Clip]]:
    """GRID's 33 with video: 1000 clips each, of s8 891."""
    return {
        who: [grid.Clip(who, name, Path(f"/{who}/{name}.mpg")) for name in names(891 if who == "s8" else 1000)]
        for who in grid.MEN + grid.WOMEN
    }


def sentences(who: str, count: int) -> list[tcd_timit.Clip]:
    ids = ["sa1", "sa2", *(f"si{number}" for number in range(count - 2))]
    return [tcd_timit.Clip(who, name, "straight", Path(f"/{who}/{name}.mp4")) for name in ids]


@pytest.fixture(scope="module")
def volunteers() -> dict[str, list[tcd_timit.Clip]]:
    """All 59 with 98 sentences, and the lip-speakers with 377: 6913."""
    who = [f"{number:02d}{'M' if f'{number:02d}' in TCD_MEN else 'F'}" for number in range(1, 60)]
    found = {name: sentences(name, 98) for name in who}
    return found | {f"Lipspkr{number}": sentences(f"Lipspkr{number}", 377) for number in (1, 2, 3)}


def test_the_counts_of_the_spec(talkers, volunteers):
    split = gt.make_split(talkers, volunteers, 0)
    of_grid = splits.make_split("G", talkers, 0)
    speakers = {name: {clip.speaker for clip in clips} for name, clips in split.items()}
    heard = {name: Counter(clip.speaker for clip in clips) for name, clips in split.items()}
    assert len(split["train"]) == 22_391 + 20 * 98 and len(split["valid"]) == 22 * 98 and len(split["test"]) == 1200
    assert split["train"][:22_391] == of_grid["train"] and split["test"] == of_grid["test"]
    assert len(speakers["train"] & {*talkers}) == 25 and len(speakers["train"] & {*volunteers}) == 20
    assert {who[-1]: count for who, count in Counter(w[-1] for w in speakers["valid"]).items()} == {"M": 12, "F": 10}
    assert set(heard["valid"].values()) == {98}
    assert {heard["train"][who] for who in speakers["train"] & {*volunteers}} == {98}
    assert {heard["train"][who] for who in speakers["train"] & {*talkers}} == {900, 791}
    assert set(heard["test"].values()) == {150} and speakers["test"] == set(splits.G_TEST)


def test_no_speaker_is_in_two_splits_and_lip_speakers_and_tcd_timits_testers_in_none(talkers, volunteers):
    for seed in range(5):
        split = gt.make_split(talkers, volunteers, seed)
        train, valid, test = ({clip.speaker for clip in split[name]} for name in ("train", "valid", "test"))
        assert not train & valid and not train & test and not valid & test
        assert not (train | valid) & {*tcd_timit.TEST, "Lipspkr1", "Lipspkr2", "Lipspkr3"}


def test_the_seed_chooses_and_the_order_of_the_listing_does_not(volunteers):
    back = {name: volunteers[name] for name in reversed(volunteers)}
    chosen = [gt.choose_volunteers(volunteers, seed) for seed in range(4)]
    assert chosen == [gt.choose_volunteers(back, seed) for seed in range(4)]
    assert len({tuple(one["valid"]) for one in chosen}) == 4 and len({tuple(one["train"]) for one in chosen}) > 1


def test_those_of_the_test_list_stand_in_for_the_missing_and_too_few_are_refused(volunteers):
    ours = [name for name in volunteers if tcd_timit.VOLUNTEER.fullmatch(name) and name not in tcd_timit.TEST]
    fewer = {name: clips for name, clips in volunteers.items() if name not in ours[:5]}
    chosen = gt.choose_volunteers(fewer, 0)
    taken = {*chosen["train"], *chosen["valid"]}
    assert len(taken) == 42 and {*ours[5:]} < taken and len(taken & {*tcd_timit.TEST}) == 5
    some = {name: volunteers[name] for name in ours[:-1]}
    with pytest.raises(AvsrError, match="needs 42 volunteers .* in --tcd-timit-dir are .* men and .* women: add"):
        gt.choose_volunteers(some, 0)
    men = {name: clips for name, clips in volunteers.items() if name.endswith("M")}
    with pytest.raises(AvsrError, match="32 men and 0 women"):
        gt.choose_volunteers(men, 0)


def test_a_speaker_of_training_in_validation_is_refused(talkers):
    one, two, three = talkers["s1"][0], talkers["s1"][1], talkers["s2"][0]
    split = {"train": [one], "valid": [two], "test": [three]}
    splits.check_split(split, one=False)  # as under G, which validates on other sentences of trained talkers
    with pytest.raises(AvsrError, match="speaker s1 stands in both train and valid; .* validates on unseen speakers"):
        splits.check_split(split, one=False, valid_unseen=True)


@pytest.fixture
def corpora(tmp_path, volunteers) -> list[str]:
    """Both on disk, two clips of everybody, as options of stage 1. Videos of GRID are not opened by it."""
    for who in grid.MEN + grid.WOMEN:
        for name in names(2):
            path = tmp_path / "grid" / who / f"{name}.mpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    for who in volunteers:
        put_clip(tmp_path / "tcd", who, "sa1")
        put_clip(tmp_path / "tcd", who, "si7")
    return [f"--corpus-dir={tmp_path / 'grid'}", f"--tcd-timit-dir={tmp_path / 'tcd'}"]


def run(out: Path, *options: str) -> int:
    return prepare.main(["--corpus=grid", f"--out={out}", *options])


def test_stage_1_lists_both_corpora_and_says_who_is_where(corpora, tmp_path, capsys, monkeypatch):
    # of two clips, one trains and one validates under G
    monkeypatch.setattr(splits, "G_TRAIN_CLIPS", 1)
    monkeypatch.setattr(splits, "G_S8_TRAIN_CLIPS", 1)
    assert run(tmp_path / "data", "--protocol=GT", "--seed=3", "--nj=2", *corpora) == 0
    said = capsys.readouterr().out
    assert "protocol GT, chosen by seed 3:\n" in said
    assert "train: 65 utterances of 45 speakers (25 male, 20 female): " in said  # 14 + 11 and 11 + 9
    assert "valid: 44 utterances of 22 speakers (12 male, 10 female): " in said
    assert "test: 16 utterances of 8 speakers (4 male, 4 female): s1 s2 s20 s22 s24 s30 s33 s9\n" in said
    tables = {name: read_datadir(tmp_path / "data" / name) for name in prepare.SPLITS}
    other = {utt: row for utt, row in (tables["train"] | tables["valid"]).items() if row.speaker[0] != "s"}
    assert len(other) == 84 and {row.text for row in other.values()} == {""}
    assert {round(row.duration, 2) for row in other.values()} == {round(FRAMES * 1001 / 30_000, 2)}
    assert all(row.text for row in tables["train"].values() if row.speaker[0] == "s")
    capsys.readouterr()
    assert check([str(tmp_path / "data" / name) for name in prepare.SPLITS] + ["--fast"]) == 0
    said = capsys.readouterr().out
    assert said.count("remark: ") == 2 and "data/valid/text: 22 speakers have no transcripts, as those of a" in said
    lists = json.loads((tmp_path / "data/splits.json").read_text())
    assert (lists["protocol"], lists["seed"], len(lists["valid"])) == ("GT", 3, 44)
    assert run(tmp_path / "again", "--protocol=GT", "--seed=3", *corpora) == 0
    assert json.loads((tmp_path / "again/splits.json").read_text()) == lists


def test_what_is_missing_is_one_line_that_names_its_option(corpora, tmp_path, capsys):
    here, there = corpora
    for options, code, words in (
        ([here], 1, "--tcd-timit-dir is missing: protocol GT takes volunteers of TCD-TIMIT; give its folder"),
        ([here, f"--tcd-timit-dir={tmp_path}/none"], 1, f"{tmp_path}/none: there is no such folder; give TCD-TIMIT's"),
        ([here, f"--tcd-timit-dir={tmp_path}/grid"], 1, f"{tmp_path}/grid: holds no clip as volunteers/01M"),
        ([here, there, "--protocol=G"], 2, "--tcd-timit-dir: only GRID's protocol GT takes a second corpus"),
    ):
        assert run(tmp_path / "data", "--protocol=GT", *options) == code
        said = one_line(capsys)
        assert words in said and "--tcd-timit-dir" in said
    assert not list((tmp_path / "data").glob("*/utt2spk"))
