"""Stage 1 on a corpus with faults: names, doubled clips, alignments, speakers and utterances in two splits."""

import json

import pytest

from avsr.stages import prepare
from avsr.storage.datadir import read_datadir
from tests.stages.tiny import contents, one_line

NAMES = [f"bb{p}{letter}{digit}n" for p in "ab" for letter in "abc" for digit in "12"]  # twelve clips


def put(corpus, speaker, names=NAMES):
    for name in names:
        path = corpus / speaker / f"{name}.mpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not opened by this stage")
    return corpus


def run(corpus, out, protocol="s1"):
    return prepare.main(["--corpus=grid", f"--corpus-dir={corpus}", f"--protocol={protocol}", f"--out={out}"])


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
def test_a_damaged_alignment_is_refused_by_name(refused, corpus, text, message):
    path = corpus / "s1" / f"{NAMES[3]}.align"
    assert f"{path}: {message}" in refused(lambda: path.write_bytes(text))


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
