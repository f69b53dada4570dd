"""Stage 1: from files on disk to tables. Names of files are all that it reads."""

import json

import pytest

from avsr.check import main as check
from avsr.corpora.grid import DIGITS, MEN, WOMEN, find_clips
from avsr.corpora.splits import make_split, shuffled
from avsr.errors import AvsrError
from avsr.stages import prepare
from avsr.storage.datadir import read_datadir, write_datadir
from avsr.storage.markers import is_done

CLIPS = [f"bba{letter}{digit}n" for letter in "af" for digit in DIGITS]  # twenty


def corpus(folder, speakers=("s1",), clips=tuple(CLIPS)):
    for speaker in speakers:
        (folder / speaker).mkdir(parents=True)
        for clip in clips:
            (folder / speaker / f"{clip}.mpg").touch()
    return folder


def run(work, *options) -> int:
    return prepare.main([f"--out={work}/data", *map(str, options)])


def test_tables_of_one_speaker(tmp_path, capsys):
    options = ["--corpus=grid", "--protocol=s1", f"--corpus-dir={corpus(tmp_path / 'grid')}"]
    assert run(tmp_path, *options) == 0
    splits = json.loads((tmp_path / "data/splits.json").read_text())
    assert (splits["protocol"], splits["synthetic"]) == ("s1", False)
    assert [len(splits[name]) for name in prepare.SPLITS] == [16, 2, 2]
    assert sorted(sum((splits[name] for name in prepare.SPLITS), [])) == sorted(f"s1-{clip}" for clip in CLIPS)
    for name in prepare.SPLITS:
        assert check([str(tmp_path / "data" / name), "--fast"]) == 0
        assert (tmp_path / "data" / name / "spk2gender").read_text() == "s1 m\n"
    text = (tmp_path / "data/test/text").read_text().splitlines()
    assert all(line.split(" ")[1:4] == ["BIN", "BLUE", "AT"] for line in text)
    capsys.readouterr()
    assert run(tmp_path, *options, "--nj=2") == 0 and "done before" in capsys.readouterr().out
    assert run(tmp_path, *options, "--seed=1") == 0
    assert json.loads((tmp_path / "data/splits.json").read_text())["test"] != splits["test"]


@pytest.mark.parametrize("table", ["text", "wav.scp", "video.scp", "utt2dur", "ctm", "spk2gender", "spk2utt"])
@pytest.mark.parametrize("spoil", ["gone", "cut"])
def test_a_table_that_is_gone_or_cut_is_made_again(tmp_path, table, spoil):
    folder = corpus(tmp_path / "grid")
    (folder / "s1" / f"{CLIPS[0]}.align").write_text("0 25000 bin\n25000 75000 blue\n")
    options = ["--corpus=grid", "--protocol=s1", f"--corpus-dir={folder}"]
    assert run(tmp_path, *options) == 0
    made = {path: path.read_bytes() for path in (tmp_path / "data").glob("*/*") if path.name == table}
    path = max(made, key=lambda path: len(made[path]))
    if spoil == "gone":
        path.unlink()
        if table in ("text", "wav.scp", "utt2dur"):
            with pytest.raises(AvsrError, match=f"{table} is missing; .* run stage 1 .prepare. again"):
                read_datadir(path.parent)
    else:
        path.write_bytes(made[path][:-3])
    assert run(tmp_path, *options) == 0
    assert {path: path.read_bytes() for path in made} == made


def test_stopped_between_two_tables_the_stage_is_not_done(tmp_path, monkeypatch, capsys):
    options = ["--corpus=grid", "--protocol=s1", f"--corpus-dir={corpus(tmp_path / 'grid')}"]
    assert run(tmp_path, *options) == 0
    expected = {path: path.read_bytes() for path in (tmp_path / "data").glob("*/*") if path.parent.name != "log"}

    def stop(folder, utterances):
        if folder.name == "valid":
            raise OSError(28, "No space left on device")
        write_datadir(folder, utterances)

    with monkeypatch.context() as patched:
        patched.setattr(prepare, "write_datadir", stop)
        assert run(tmp_path, *options, "--seed=1") == 1
    capsys.readouterr()
    assert run(tmp_path, *options) == 0 and "done before" not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in expected} == expected


def test_limits_keep_a_part(tmp_path):
    options = ["--corpus=grid", "--protocol=s1", f"--corpus-dir={corpus(tmp_path / 'grid')}", "--set=prepare.train=3"]
    assert run(tmp_path, *options) == 0
    splits = json.loads((tmp_path / "data/splits.json").read_text())
    assert [len(splits[name]) for name in prepare.SPLITS] == [3, 2, 2]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--corpus=grid"], 1, "--corpus-dir is missing"),
        (
            ["--corpus=grid", "--protocol=s2", "--corpus-dir={}"],
            2,
            "no such protocol or speaker here; choose one of: G",
        ),
        (["--corpus=grid", "--protocol=G", "--corpus-dir={}"], 1, "missing: s2 s3 s5"),
        (["--corpus=grid", "--protocol=GT", "--corpus-dir={}"], 1, "missing: s2 s3 s5"),
        (["--corpus=grid", "--protocol=mini", "--corpus-dir={}"], 1, "needs 6 speakers; here are s1"),
        (["--corpus=mini", "--protocol=s1"], 2, "--protocol s1: the mini corpus has the protocol mini alone"),
        (
            ["--corpus=grid", "--protocol=s1", "--corpus-dir={}", "--set=prepare.test=0"],
            1,
            "no utterance is left for test",
        ),
    ],
)
def test_refused_in_one_line(tmp_path, capsys, options, code, said):
    folder = corpus(tmp_path / "grid")
    assert run(tmp_path, *(option.format(folder) for option in options)) == code
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_gt_says_that_the_other_corpus_is_missing(tmp_path, capsys):
    folder = corpus(tmp_path / "grid", MEN + WOMEN, CLIPS[:1])
    assert run(tmp_path, "--corpus=grid", "--protocol=GT", f"--corpus-dir={folder}") == 1
    assert "TCD-TIMIT" in capsys.readouterr().err


def test_whole_files_are_marked_as_before_there_were_parts(tmp_path):
    folder = corpus(tmp_path / "grid")
    options = ["--corpus=grid", "--protocol=s1", f"--corpus-dir={folder}"]
    assert run(tmp_path, *options) == 0
    names = ("id", "speaker", "text", "video", "audio", "duration", "words", "sex")
    rows = {
        split: [
            dict(zip(names, (u, "s1", row.text, str(row.video), None, 3.0, [], "m"), strict=True))
            for u, row in read_datadir(tmp_path / "data" / split).items()
        ]
        for split in prepare.SPLITS
    }
    splits = make_split("s1", find_clips(folder), 0)
    for split in rows:  # the order in which the reader gives them
        order = [clip.utt for clip in shuffled(splits[split], 0, "limit")]
        rows[split].sort(key=lambda row: order.index(row["id"]))
    assert is_done(tmp_path / "data/splits.json.done", ["s1", 0, rows])
