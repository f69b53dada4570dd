"""LRW: its folders are read as they are distributed, in its own splits."""

import pytest

from avsr.corpora import lrw
from avsr.errors import AvsrError
from avsr.stages import prepare
from avsr.storage.datadir import read_datadir


def make(folder, words=("ABOUT", "DON'T"), counts=(("train", 3), ("val", 2), ("test", 2))):
    for word in words:
        for split, count in counts:
            place = folder / "lipread_mp4" / word / split
            place.mkdir(parents=True)
            for number in range(1, count + 1):
                (place / f"{word}_{number:05d}.mp4").touch()
                (place / f"{word}_{number:05d}.txt").write_text("Duration: 0.29 seconds\n")
    return folder


def test_the_same_number_in_another_split_is_another_clip(tmp_path):
    corpus = make(tmp_path / "lrw")
    found = {split: lrw.read_split(corpus, split) for split in ("train", "valid", "test")}
    assert [len(clips) for clips in found.values()] == [6, 4, 4]
    assert len({utt.id for clips in found.values() for utt in clips}) == 14
    clip = next(utt for utt in found["valid"] if utt.text == "DON'T")
    assert clip.id.startswith("DON-T_val_0000") and clip.speaker == clip.id
    assert clip.words == ((0.0, 29 / 25, "DON'T"),) and clip.video.parent.name == "val"


def test_either_folder_may_be_named(tmp_path):
    corpus = make(tmp_path / "lrw")
    assert lrw.read_split(corpus, "test") == lrw.read_split(corpus / "lipread_mp4", "test")


def test_limits_keep_so_many_clips_of_each_word(tmp_path):
    few = lrw.read_split(make(tmp_path / "lrw"), "train", 2, seed=1)
    assert sorted(utt.text for utt in few) == ["ABOUT"] * 2 + ["DON'T"] * 2


def test_what_is_no_clip_is_said(tmp_path, caplog):
    corpus = make(tmp_path / "lrw")
    (corpus / "lipread_mp4/ABOUT/train/BELOW_00001.mp4").touch()
    for path in (corpus / "lipread_mp4/DON'T/train").iterdir():
        path.unlink()
    assert [utt.text for utt in lrw.read_split(corpus, "train")] == ["ABOUT"] * 3
    assert "ABOUT/train/BELOW_00001.mp4: is not named ABOUT_<5 digits>; left out" in caplog.text
    assert "no clip for train of 1 of 2 words, first: DON'T" in caplog.text


@pytest.mark.parametrize("name, words", [("nothing", "there is no such folder"), (".", "holds no word of LRW")])
def test_no_corpus(tmp_path, name, words):
    with pytest.raises(AvsrError, match=words):
        lrw.read_split(tmp_path / name, "train")


def test_stage_1_writes_tables_with_word_times(tmp_path):
    options = ["--corpus=lrw", "--protocol=lrw", f"--corpus-dir={make(tmp_path / 'lrw')}", f"--out={tmp_path}/data"]
    assert prepare.main(options) == 0
    rows = read_datadir(tmp_path / "data/train")
    assert len(rows) == 6 and {row.text for row in rows.values()} == {"ABOUT", "DON'T"}
    assert all(row.words == ((0.0, 1.16, row.text),) for row in rows.values())
