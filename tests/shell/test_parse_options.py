"""The option parser of the scripts: what it takes, what it refuses, and how."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """#!/usr/bin/env bash
# A script for a test.

stage=1         # first stage
stop_stage=9    # last stage
corpus_dir=     # a folder that must be there
work_dir=       # a folder that will be made
nj=2            # processes
seed=0          # any whole number
protocol=G      # text
systems=        # text with spaces
checkpoint=     # a file
publish=false   # a boolean
hidden=secret
{rest}
set -eu
. "{root}/utils/parse_options.sh"
late=1          # declared too late to be an option
printf '%s|' "$stage" "$stop_stage" "$corpus_dir" "$work_dir" "$nj" "$seed" "$protocol" "$systems" "$checkpoint" \\
  "$publish" "$hidden" "$late" "$@"
"""
NAMES = ("stage", "stop_stage", "corpus_dir", "work_dir", "nj", "seed", "protocol", "systems", "checkpoint")
NAMES += ("publish", "hidden", "late")


@pytest.fixture
def parse(tmp_path):
    """Runs the script with these words; gives the finished process."""
    (tmp_path / "script.sh").write_text(SCRIPT.format(root=ROOT, rest=""))
    (tmp_path / "script_rest.sh").write_text(SCRIPT.format(root=ROOT, rest="rest_of_line=words"))

    def run(*words, script="script.sh"):
        return subprocess.run(["bash", script, *words], cwd=tmp_path, capture_output=True, text=True, timeout=20)

    return run


def values(done) -> dict:
    assert done.returncode == 0, done.stderr
    return dict(zip(NAMES, done.stdout.split("|")[:-1], strict=True))


def refused(done) -> str:
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n")
    return done.stderr


def test_defaults_stay(parse):
    got = values(parse())
    assert got["stage"] == "1" and got["protocol"] == "G" and got["publish"] == "false" and got["systems"] == ""


@pytest.mark.parametrize("words", [("--stage", "3", "--stop-stage", "6"), ("--stage=3", "--stop-stage=6")])
def test_both_spellings(parse, words):
    got = values(parse(*words))
    assert (got["stage"], got["stop_stage"]) == ("3", "6")


def test_values_are_taken_literally(parse, tmp_path):
    for text in ("$(touch x)", "`touch x`", "; touch x;", "a  b", "$HOME", "*", "-5", "a=b", "'\"\\"):
        assert values(parse("--systems", text))["systems"] == text
        assert values(parse(f"--systems={text}"))["systems"] == text
    assert not (tmp_path / "x").exists()


def test_a_number_is_never_evaluated(parse, tmp_path):
    for option in ("--nj", "--seed", "--stage", "--stop-stage"):
        for text in ("$(touch x)", "a[$(touch x)]", "1+1", "0x2"):
            assert text in refused(parse(option, text))
    assert not (tmp_path / "x").exists()


def test_the_last_one_wins_and_may_change_its_kind(parse):
    assert values(parse("--protocol", "5", "--protocol", "s1"))["protocol"] == "s1"
    assert values(parse("--protocol=true", "--protocol=s1"))["protocol"] == "s1"


@pytest.mark.parametrize("word", "--nope --nope=1 --hidden --late --PATH --stop_stage --Stage --".split())
def test_unknown_option(parse, word):
    message = refused(parse(word, "1"))
    assert f"unknown option '{word.split('=')[0]}'" in message


@pytest.mark.parametrize("word", ["grid", "-s", "-h"])
def test_a_bare_word_is_refused(parse, word):
    assert f"unknown word '{word}'" in refused(parse(word))


@pytest.mark.parametrize("words", [("--stage",), ("--stage", "--nj", "2"), ("--stage=",), ("--systems", ""), ("--nj",)])
def test_missing_value(parse, words):
    assert f"{words[0].rstrip('=')}: value missing" in refused(parse(*words))


@pytest.mark.parametrize("value", ["abc", "0", "10", "-1", "1.5", "08", " 3", "3\n"])
def test_a_stage_is_a_number_from_1_to_9(parse, value):
    done = parse("--stage", value)
    assert done.returncode == 2 and "must be a stage, 1 to 9" in done.stderr


def test_stop_before_start(parse):
    assert "--stop-stage 3 is before --stage 4" in refused(parse("--stage", "4", "--stop-stage", "3"))
    assert values(parse("--stage", "4", "--stop-stage", "4"))["stage"] == "4"


@pytest.mark.parametrize("word", "--nj=0 --nj=two --seed=x --seed=-1 --seed=010".split())
def test_numbers(parse, word):
    assert f"'{word.split('=')[1]}'" in refused(parse(word))


def test_booleans(parse):
    assert values(parse("--publish", "true"))["publish"] == "true"
    for value in ("yes", "True", "1"):
        assert f"must be true or false, not '{value}'" in refused(parse("--publish", value))


def test_folders_and_files_must_be_there_and_become_absolute(parse, tmp_path):
    folder = tmp_path / "my corpus"
    folder.mkdir()
    (tmp_path / "best.pt").touch()
    assert values(parse("--corpus-dir", "my corpus"))["corpus_dir"] == str(folder)
    assert values(parse("--corpus-dir", str(folder)))["corpus_dir"] == str(folder)
    assert values(parse("--checkpoint=best.pt"))["checkpoint"] == str(tmp_path / "best.pt")
    assert "there is no folder 'nowhere'" in refused(parse("--corpus-dir", "nowhere"))
    assert "there is no folder 'best.pt'" in refused(parse("--corpus-dir", "best.pt"))
    assert "there is no file 'last.pt'" in refused(parse("--checkpoint", "last.pt"))


def test_the_work_folder_may_be_made_later_but_is_no_file(parse, tmp_path):
    (tmp_path / "file").touch()
    assert values(parse("--work-dir", "new one"))["work_dir"] == str(tmp_path / "new one")
    assert "not a folder: 'file'" in refused(parse("--work-dir", "file"))


def test_words_after_two_dashes_where_the_script_takes_them(parse):
    done = parse("--seed", "3", "--", "-k", "a b", "--x", script="script_rest.sh")
    assert done.returncode == 0 and done.stdout.endswith("|1|-k|a b|--x|")


def test_help_is_made_from_the_comments(parse):
    done = parse("--nj", "7", "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("A script for a test.\n")
    assert "--corpus-dir     a folder that must be there\n" in done.stdout
    assert "--stop-stage     last stage (default: 9)" in done.stdout
    assert "--nj             processes (default: 2)" in done.stdout
    assert "hidden" not in done.stdout and "late" not in done.stdout
