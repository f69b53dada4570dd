"""GRID: names, layouts, alignments, protocols."""

from pathlib import Path

import pytest

from avsr.corpora import grid, splits
from avsr.errors import AvsrError, UsageError


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_a_name_spells_its_sentence():
    assert grid.sentence("bbaf2n") == "bin blue at f two now"
    assert grid.sentence("swwzzs") == "set white with z zero soon"


@pytest.mark.parametrize("name", ["bbaf2", "bbaw2n", "xbaf2n", "bbaf0n", "bbaf2nn"])
def test_other_names_are_no_clips(name):
    with pytest.raises(ValueError):
        grid.sentence(name)


@pytest.mark.parametrize(
    "name",
    ["s1/video/mpg_6000/bbaf2n.mpg", "s1/bbaf2n.mpg", "video/s1/bbaf2n.mp4", "s1/bbaf2n.avi", "s1/s1/BBAF2N.mkv"],
)
def test_layouts(tmp_path, name):
    put(tmp_path, name, "__MACOSX/s1/bbaf2n.mpg", "s1/notes.mpg", "s1/bbaf2n.wav")
    found = grid.find_clips(tmp_path)
    assert [(speaker, [clip.utt for clip in clips]) for speaker, clips in found.items()] == [("s1", ["s1-bbaf2n"])]


@pytest.mark.parametrize(
    "layout",
    [
        "{}/video/mpg_6000/bbaf2n.mpg",
        "{}/video/mpg_vcd/bbaf2n.mpg",
        "{}/bbaf2n.mp4",
        "video/{}/bbaf2n.avi",
        "GRID/{}/video/bbaf2n.mkv",
    ],
)
@pytest.mark.parametrize("names", [("s1", "s2"), ("u01", "u02"), ("u01",)])
def test_the_speaker_of_every_layout(tmp_path, layout, names):
    put(tmp_path, *(layout.format(name) for name in names))
    found = grid.find_clips(tmp_path)
    assert {name: [clip.video for clip in clips] for name, clips in found.items()} == {
        name: [tmp_path / layout.format(name)] for name in names
    }


def test_clips_without_a_folder_of_a_speaker_have_the_name_of_the_corpus(tmp_path, monkeypatch):
    put(tmp_path / "u05", "bbaf2n.mpg", "video/mpg_6000/lbaf2n.mpg")
    monkeypatch.chdir(tmp_path / "u05")
    assert list(grid.find_clips(tmp_path / "u05")) == list(grid.find_clips(Path("."))) == ["u05"]


@pytest.mark.parametrize(
    "place", [f"{place}/bbaf2n.align" for place in ("{}/video/mpg_6000", "{}/align", "{}", "alignments/{}")]
)
@pytest.mark.parametrize("names", [("s1", "s2"), ("u01", "u02")])
def test_the_alignment_is_that_of_the_speaker(tmp_path, place, names):
    put(tmp_path, *(f"{name}/video/mpg_6000/bbaf2n.mpg" for name in names), *(place.format(name) for name in names))
    alignments = grid.Alignments(tmp_path)
    found = {name: alignments.find(clips[0]) for name, clips in grid.find_clips(tmp_path).items()}
    assert found == {name: tmp_path / place.format(name) for name in names}


def test_speakers_in_order_and_other_names(tmp_path):
    put(tmp_path, "s10/bbaf2n.mpg", "s2/bbaf2n.mpg", "u01/bbaf2n.mpg")
    assert list(grid.find_clips(tmp_path)) == ["s2", "s10", "u01"]


def test_no_clip_and_no_folder(tmp_path):
    with pytest.raises(AvsrError, match="holds no GRID clip"):
        grid.find_clips(tmp_path)
    with pytest.raises(AvsrError, match="there is no such folder"):
        grid.find_clips(tmp_path / "nowhere")


def test_align_in_seconds_and_words_without_silence(tmp_path):
    path = tmp_path / "a.align"
    path.write_text("0 23750 sil\n23750 29500 bin\n29500 30000 sp\n30000 34000 blue\n34000 74500 sil\n")
    utt = grid.utterance(grid.Clip("s1", "bbaf2n", tmp_path / "bbaf2n.mpg"), path)
    assert utt.words == ((0.95, 1.18, "BIN"), (1.2, 1.36, "BLUE"))
    assert utt.duration == 2.98 and utt.text == "BIN BLUE AT F TWO NOW"


def test_the_sex_of_the_talkers_is_known(tmp_path):
    sexes = [grid.utterance(grid.Clip(name, "bbaf2n", tmp_path), None).sex for name in ("s1", "s4", "s34", "u01")]
    assert sexes == ["m", "f", "f", ""]
    assert (len(grid.MEN), len(grid.WOMEN), len({*grid.MEN, *grid.WOMEN})) == (18, 15, 33)


@pytest.mark.parametrize("text", [b"0 1\n", b"a b c\n", b"0 1 \xff\xfe\n"])
def test_broken_align_is_named(tmp_path, text):
    path = tmp_path / "a.align"
    path.write_bytes(text)
    with pytest.raises(AvsrError, match=str(path)):
        grid.read_align(path)


def test_misplaced_alignments_are_put_right(tmp_path):
    put(tmp_path, "s5/bbaf2n.mpg", "s1/bbaf2n.mpg", "s9/bbaf2n.mpg", "s9/align/bbaf2n.align")
    put(tmp_path, *(f"alignments/s{k}/bbaf2n.align" for k in (1, 5, 6)))
    found = grid.find_clips(tmp_path)
    alignments = grid.Alignments(tmp_path)
    assert alignments.find(found["s5"][0]) == tmp_path / "alignments/s6/bbaf2n.align"
    assert alignments.find(found["s1"][0]) == tmp_path / "alignments/s1/bbaf2n.align"
    assert alignments.find(found["s9"][0]) == tmp_path / "s9/align/bbaf2n.align"


def test_the_map_of_misplaced_alignments():
    assert len(grid.MISPLACED_ALIGNMENTS) == 19 and len(set(grid.MISPLACED_ALIGNMENTS.values())) == 19


def clips(speaker, count):
    letters = [f"{c}{k}" for c in "abcdefghijklmnopqrstuvxyz" for k in "123456789z"]
    names = [f"{a}{b}{p}{x}{e}" for a in "blps" for b in "bgrw" for p in "abiw" for x in letters for e in "anps"]
    return [grid.Clip(speaker, name, Path(f"/{speaker}/{name}.mpg")) for name in names[:count]]


@pytest.mark.parametrize(("count", "expected"), [(10, (8, 1, 1)), (978, (784, 97, 97))])
def test_one_speaker(count, expected):
    split = splits.make_split("s1", {"s1": clips("s1", count)}, 0)
    assert tuple(len(split[name]) for name in ("train", "valid", "test")) == expected
    assert split == splits.make_split("s1", {"s1": clips("s1", count)[::-1]}, 0)
    assert split != splits.make_split("s1", {"s1": clips("s1", count)}, 1)


def test_one_speaker_with_too_few_clips():
    with pytest.raises(AvsrError, match="9 clips; a one-speaker split needs 10"):
        splits.make_split("s1", {"s1": clips("s1", 9)}, 0)


def test_protocol_g_counts():
    speakers = {speaker: clips(speaker, 891 if speaker == "s8" else 1000) for speaker in grid.MEN + grid.WOMEN}
    split = splits.make_split("G", speakers, 0)
    assert {name: len(found) for name, found in split.items()} == {"train": 22391, "valid": 2500, "test": 1200}
    train, test = ({clip.speaker for clip in split[name]} for name in ("train", "test"))
    assert len(train) == 25 and len(test) == 8 and not train & test


def test_protocol_mini_tests_other_speakers():
    split = splits.make_split("mini", {f"s{k}": clips(f"s{k}", 60) for k in range(1, 8)}, 0)
    assert {name: len(found) for name, found in split.items()} == {"train": 180, "valid": 20, "test": 100}
    assert len({clip.speaker for clip in split["test"]}) == 2


def test_protocol_g_says_who_is_missing():
    with pytest.raises(AvsrError, match="missing: s2 s3 .* s34"):
        splits.make_split("G", {"s1": clips("s1", 1000)}, 0)


def test_unknown_protocol():
    with pytest.raises(UsageError, match="choose one of: G GT mini s1"):
        splits.make_split("s3", {"s1": clips("s1", 20)}, 0)


def test_overlaps_are_refused():
    one, other = clips("s1", 2)
    with pytest.raises(AvsrError, match="s1-.* stands in both train and test"):
        splits.check_split({"train": [one], "valid": [], "test": [one]}, one=True)
    with pytest.raises(AvsrError, match="speaker s1 stands in both"):
        splits.check_split({"train": [one], "valid": [], "test": [other]}, one=False)
    splits.check_split({"train": [one], "valid": [], "test": [other]}, one=True)


def test_real_alignments_say_what_the_names_spell(real_data):
    alignments = grid.Alignments(real_data / "grid")
    found = grid.find_clips(real_data / "grid")
    assert len(found["s1"]) == 978
    for clip in found["s1"]:
        utt = grid.utterance(clip, alignments.find(clip))
        assert " ".join(word for _, _, word in utt.words) == utt.text
