"""Stage 1 on a corpus with faults: names, doubled clips, alignments, speakers and utterances in two splits."""

import json

import pytest

from avsr.stages import prepare
from avsr.stages.shards import read_failed
from avsr.storage.datadir import read_datadir
from tests.stages.tiny import contents, one_line

NAMES = [f"bb{p}{letter}{digit}n" for p in "ab" for letter in "abc" for digit in "12"]  # twelve clips


def put(corpus, speaker, names=NAMES):
    for name in names:
        path = corpus / speaker / f"{name}.mpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not opened by this stage")
    return corpus


def run(corpus, out, protocol="s1", shard="1/1"):
    options = [f"--corpus-dir={corpus}", f"--protocol={protocol}", f"--out={out}", f"--shard={shard}"]
    return prepare.main(["--corpus=grid", *options])


@pytest.fixture
def corpus(tmp_path):
    return put(tmp_path / "grid", "s1")


@pytest.fixture
def refused(corpus, tmp_path, capsys):
    """Runs stage 1 on a good corpus, then after `spoil()`: the one line; the tables made before must stay."""

    def check(spoil, protocol="s1", code=1):
        out = tmp_path / "data"
        assert run(corpus, out) == 0
        before = contents(out)
        spoil()
        capsys.readouterr()
        assert run(corpus, out, protocol) == code
        assert contents(out) == before
        return one_line(capsys)

    return check


def utterances(out):
    return {utt: row for split in ("train", "valid", "test") for utt, row in read_datadir(out / split).items()}


@pytest.mark.parametrize("speaker", ["my speaker", "..s1", "sp|1"])
def test_a_speaker_whose_name_is_no_id_is_refused_with_the_clip(refused, corpus, speaker):
    said = refused(lambda: put(corpus, speaker), protocol=speaker)
    assert f"{corpus}/{speaker}/bb" in said and f"utterance id '{speaker}-bb" in said and "rename it" in said


def test_a_clip_that_is_there_twice_is_used_once_and_that_is_said(corpus, tmp_path, capsys):
    put(corpus, "s1/again", NAMES[:1])
    assert run(corpus, tmp_path / "data") == 0
    said = capsys.readouterr().out
    assert f"{corpus}/s1/{NAMES[0]}.mpg is used" in said or f"{corpus}/s1/again/{NAMES[0]}.mpg is used" in said
    assert f"s1-{NAMES[0]} is there twice" in said and len(utterances(tmp_path / "data")) == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"0 1000 b\xefn\n", "is not UTF-8 text; convert it or remove it"),
        (b"0 1000 bin\n1000", "every line must read 'start end word'; mend it or remove it"),
        (b"\x00\x01\x02", "every line must read 'start end word'; mend it or remove it"),
    ],
)
def test_a_damaged_alignment_drops_its_clip(corpus, tmp_path, capsys, text, message):
    path, out = corpus / "s1" / f"{NAMES[3]}.align", tmp_path / "data"
    path.write_bytes(text)
    for counts in ("11 ok, 1 failed, 0 skipped", "0 ok, 1 failed, 11 skipped"):
        assert run(corpus, out) == 0
        assert f"{out}: {counts}\n" in capsys.readouterr().out
        assert set(utterances(out)) == {f"s1-{name}" for name in NAMES if name != NAMES[3]}
        (row,) = read_failed(out)
        assert (row["utterance"], row["step"]) == (f"s1-{NAMES[3]}", "prepare")
        assert row["exception"] == ("UnicodeDecodeError" if "UTF-8" in message else "ValueError")
        assert row["message"].startswith(f"{path}: {message}")
    path.unlink()
    assert run(corpus, out) == 0 and "12 ok, 0 failed, 0 skipped" in capsys.readouterr().out
    assert len(utterances(out)) == 12 and read_failed(out) == []


def test_too_many_damaged_alignments_end_the_stage(corpus, tmp_path, capsys):
    (corpus / "s1" / f"{NAMES[0]}.align").symlink_to(tmp_path / "gone")
    (corpus / "s1" / f"{NAMES[1]}.align").write_text("0 1")
    for speaker in ("s2", "s3", "s4", "s5"):
        put(corpus, speaker)  # competing talkers do not count
    assert run(corpus, tmp_path / "data") == 3
    said = one_line(capsys)
    assert "2 of 12 utterances failed" in said and f"see {tmp_path}/data/failed.tsv" in said
    assert "cannot be read (No such file or directory)" in read_failed(tmp_path / "data")[0]["message"]
    for name in NAMES:
        (corpus / "s1" / f"{name}.align").unlink(missing_ok=True)
        (corpus / "s1" / f"{name}.align").write_text("0 1")
    assert run(corpus, tmp_path / "data") == 3 and "12 of 12 utterances failed" in one_line(capsys)


def test_the_first_part_makes_all_tables(corpus, tmp_path, capsys):
    assert run(corpus, tmp_path / "data", shard="2/2") == 0
    assert "part 2 of 2: nothing to do, part 1 makes the tables" in capsys.readouterr().out
    assert not (tmp_path / "data/train").exists()
    assert run(corpus, tmp_path / "data", shard="1/2") == 0 and len(utterances(tmp_path / "data")) == 12


def test_without_an_alignment_the_name_is_the_transcript_and_words_have_no_times(corpus, tmp_path):
    (corpus / "s1" / f"{NAMES[0]}.align").write_text("0 25000 bin\n25000 75000 blue\n")
    (corpus / "s1" / f"{NAMES[1]}.align").write_text("")  # empty
    assert run(corpus, tmp_path / "data") == 0
    found = utterances(tmp_path / "data")
    assert all(len(row.text.split()) == 6 for row in found.values())
    assert [utt for utt, row in found.items() if row.words] == [f"s1-{NAMES[0]}"]


def test_speakers_that_a_protocol_needs_are_named(refused):
    assert "missing: s2 s3" in refused(lambda: None, protocol="G")
    assert "choose one of: G GT mini s1" in refused(lambda: None, protocol="s2", code=2)


def listed(corpus, **splits):
    """The list of splits that a generated corpus brings along; protocol mini reads it."""
    return generated(corpus, json.dumps(splits))


def generated(corpus, text):
    """corpus.json tells a generated corpus."""

    def put():
        (corpus / "corpus.json").write_text("{}")
        (corpus / "splits.json").write_text(text)

    return put


IDS = [f"s1-{name}" for name in NAMES]


def test_an_utterance_in_two_splits(refused, corpus):
    said = refused(listed(corpus, train=IDS[:8], valid=IDS[8:10], test=IDS[9:]), protocol="mini")
    assert f"{corpus}/splits.json: {IDS[9]} stands in both valid and test" in said and "run stage 1 again" in said


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_tested_speaker_in_another_split(refused, corpus, split):
    put(corpus, "s2"), put(corpus, "s3")
    others = {"train": "s2", "valid": "s3"}
    lists = {name: [f"{speaker}-{n}" for n in NAMES] for name, speaker in others.items()} | {"test": IDS[:6]}
    lists[split] = IDS[6:]
    said = refused(listed(corpus, **lists), protocol="mini")
    assert f"splits.json: speaker s1 stands in both {split} and test; this protocol tests unseen speakers" in said


@pytest.mark.parametrize("text", ['{"train": ["s1-b', "[]", '{"train": []}', '{"train": 3, "valid": [], "test": []}'])
def test_a_damaged_list_of_splits(refused, corpus, text):
    said = refused(generated(corpus, text), protocol="mini")
    assert f"{corpus}/splits.json is damaged; delete {corpus} and run stage 1 again" in said


def test_a_generated_corpus_without_its_list_of_splits(refused, corpus):
    said = refused(lambda: (corpus / "corpus.json").write_text("{}"), protocol="mini")
    assert f"{corpus}/splits.json is missing: {corpus} was not made to its end; run the mini recipe on it" in said


@pytest.mark.parametrize("protocol", ["nonsense", "G", "s2"])
def test_a_protocol_that_a_generated_corpus_has_not(refused, corpus, protocol):
    said = refused(listed(corpus, train=IDS[:8], valid=IDS[8:10], test=IDS[10:]), protocol=protocol, code=2)
    assert f"--protocol {protocol}: {corpus} is a generated corpus; choose one of: mini s1\n" in said


def test_a_file_of_that_name_makes_no_corpus_a_generated_one(refused, corpus):
    said = refused(lambda: (corpus / "splits.json").write_text("{}"), protocol="nonsense", code=2)
    assert "choose one of: G GT mini s1" in said


def test_a_list_of_splits_that_names_a_clip_that_is_gone(refused, corpus):
    said = refused(listed(corpus, train=["s1-bbaz9n"], valid=IDS[:2], test=IDS[2:]), protocol="mini")
    assert f"{corpus}/splits.json names s1-bbaz9n, which is not there" in said
