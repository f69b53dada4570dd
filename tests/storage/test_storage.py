"""Whole files, markers, stores, data directories."""

import os
import time
from dataclasses import replace

import kaldiio
import numpy as np
import pytest

from avsr.check import table_problems
from avsr.errors import AvsrError
from avsr.storage.arrays import ShardWriter, Store, finish_store, read_scp_offsets
from avsr.storage.atomic import HOST, OTHERS_KEPT, atomic_path, remove_leftovers, temporary_path, write_text
from avsr.storage.datadir import Utterance, read_datadir, read_table, write_datadir
from avsr.storage.markers import digest, fingerprint, is_done, mark


def arrays():
    draw = np.random.default_rng(0)
    return {
        "s1-a": draw.integers(0, 256, (3, 4, 5)).astype(np.uint8),
        "s1-b": np.arange(256, dtype=np.uint8).reshape(4, 8, 8),
        "s2-c": draw.normal(size=(7, 80)).astype(np.float32),
        "s2-d": draw.normal(size=640).astype(np.float32),
        "s2-e": draw.normal(size=(2, 3)).astype(np.float16),
    }


def write_store(folder, storage):
    index = {}
    for number, utts in enumerate((["s1-a", "s1-b"], ["s2-c", "s2-d", "s2-e"])):
        with ShardWriter(folder, number, storage) as writer:
            for utt in utts:
                writer.write(utt, arrays()[utt])
        index[number] = writer.index
    finish_store(folder, storage, index, {"rate": 16000}, "digest of the inputs")


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_store_gives_back_every_bit(tmp_path, storage):
    write_store(tmp_path, storage)
    store = Store(tmp_path)
    assert store.keys() == sorted(arrays()) and len(store) == 5 and store.meta == {"rate": 16000}
    for utt, array in arrays().items():
        read = store.read(utt)
        assert read.dtype == (np.float32 if array.dtype == np.float16 else array.dtype)
        assert read.shape == array.shape == store.shape(utt)
        assert np.array_equal(read, array)


def test_kaldi_reads_our_ark(tmp_path):
    write_store(tmp_path, "ark")
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        table = kaldiio.load_scp("feats.scp")
        assert np.array_equal(table["s2-c"], arrays()["s2-c"])
        assert np.array_equal(table["s1-b"].reshape(4, 8, 8), arrays()["s1-b"])
    finally:
        os.chdir(here)


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_a_shard_cut_short_is_named(tmp_path, storage):
    write_store(tmp_path, storage)
    path = sorted(tmp_path.glob("shard-00001.*"))[0]
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(AvsrError, match=f"{path} was cut short.*delete {tmp_path} and run"):
        Store(tmp_path)


def test_a_store_without_its_marker_is_no_store(tmp_path):
    with ShardWriter(tmp_path, 0) as writer:
        writer.write("a", np.zeros(3, np.float32))
    with pytest.raises(AvsrError, match="store.json is missing: stage 3 makes it"):
        Store(tmp_path, "stage 3")


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_an_interrupted_shard_leaves_nothing(tmp_path, storage):
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path, 0, storage) as writer:
        writer.write("a", np.zeros(3, np.float32))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_ark_that_holds_a_pickle_is_refused(tmp_path):
    write_store(tmp_path, "ark")
    path = tmp_path / "shard-00001.ark"
    content = bytearray(path.read_bytes())
    offset = read_scp_offsets(tmp_path / "shard-00001.scp")["s2-c"]
    content[offset : offset + 3] = b"PKL"
    path.write_bytes(content)
    with pytest.raises(AvsrError, match="cannot read s2-c"):
        Store(tmp_path).read("s2-c")


def test_scp_with_a_pipe_is_refused(tmp_path):
    (tmp_path / "x.scp").write_text("a touch /tmp/x; cat a.ark |\n")
    with pytest.raises(AvsrError, match="the entry of a is a pipe"):
        read_scp_offsets(tmp_path / "x.scp")


def test_atomic_path_keeps_the_old_file_on_an_error(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    (tmp_path / f".tmp-{HOST}-999999999-a.h5").write_text("x")
    alive = temporary_path(tmp_path / "b.h5")
    alive.write_text("x")
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [alive]


def test_what_another_machine_writes_stays_for_a_day(tmp_path):
    """No process here has its number, or another one has it: nothing follows from that."""
    files = [tmp_path / f".tmp-other{HOST}-{pid}-a-{pid}.h5" for pid in (999999999, os.getpid())]
    for path in files:
        path.write_text("x")
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    old = time.time() - OTHERS_KEPT - 60
    for path in files:
        os.utime(path, (old, old))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_a_shard_in_the_making_is_known_as_this_process_s(tmp_path, storage):
    with ShardWriter(tmp_path, 0, storage) as writer:
        assert writer.temporary == [temporary_path(path) for path in writer.final]
        writer.write("a", np.zeros(3, np.float32))
        remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == set(writer.final)


def test_markers_notice_other_options_inputs_and_sizes(tmp_path):
    made = tmp_path / "out.txt"
    made.write_text("result")
    source = tmp_path / "in.txt"
    source.write_text("source")
    key = {"size": 3, "in": fingerprint([source])}
    assert not is_done(tmp_path / "done", key)
    mark(tmp_path / "done", key, [made])
    assert is_done(tmp_path / "done", key) and not is_done(tmp_path / "done", {**key, "size": 4})
    source.write_text("another source")
    assert not is_done(tmp_path / "done", {"size": 3, "in": fingerprint([source])})
    made.write_text("cut")
    assert not is_done(tmp_path / "done", key)


def test_digest_depends_on_content_not_on_order():
    assert digest({"a": 1, "b": (1, 2)}) == digest({"b": [1, 2], "a": 1}) != digest({"a": 1, "b": [2, 1]})


def utterance(name, speaker="s1", text="BIN BLUE"):
    return Utterance(name, speaker, text, None, None, 3.0, ((0.5, 1.0, "BIN"), (1.0, 1.5, "BLUE")))


def test_datadir_is_as_kaldi_wants_it(tmp_path):
    from pathlib import Path

    video = Path("/corpus/a b.mpg")
    utts = [Utterance(name, name.split("-")[0], "BIN", video, None, 3.0, ()) for name in ("s2-a", "s10-a", "s1-b")]
    write_datadir(tmp_path, utts)
    for name in ("text", "wav.scp", "video.scp", "utt2spk", "spk2utt", "utt2dur"):
        keys = [line.split(" ")[0] for line in (tmp_path / name).read_text().splitlines()]
        assert keys == sorted(keys) and len(keys) == 3, name
    # Kaldi: sorted by utterance must be sorted by speaker too
    speakers = [line.split(" ")[1] for line in (tmp_path / "utt2spk").read_text().splitlines()]
    assert speakers == sorted(speakers)
    read = read_datadir(tmp_path)
    assert list(read) == ["s1-b", "s10-a", "s2-a"] and read["s2-a"].video == video and read["s2-a"].audio is None


def test_word_times_come_back(tmp_path):
    write_datadir(tmp_path, [Utterance("s1-a", "s1", "BIN", "v", None, 3.0, ((0.5, 1.0, "BIN"),))])
    assert read_datadir(tmp_path)["s1-a"].words == ((0.5, 1.0, "BIN"),)


def test_sexes_come_back_where_they_are_known(tmp_path):
    sexes = {"s2-a": "f", "s10-a": "m", "s10-b": "m", "s1-b": ""}
    row = [utterance(name, name.split("-")[0]) for name in sexes]
    write_datadir(tmp_path, [replace(utt, sex=sexes[utt.id]) for utt in row])
    assert (tmp_path / "spk2gender").read_text() == "s10 m\ns2 f\n"
    assert {utt: one.sex for utt, one in read_datadir(tmp_path).items()} == sexes
    assert list(table_problems(tmp_path)) == []
    (tmp_path / "spk2gender").write_text("s10 x\ns3 f\n")
    assert len([line for line in table_problems(tmp_path) if "spk2gender: s" in line]) == 2
    write_datadir(tmp_path, row)
    assert not (tmp_path / "spk2gender").exists()


def test_doubled_utterance_is_refused(tmp_path):
    with pytest.raises(AvsrError, match="s1-a stands for two clips"):
        write_datadir(tmp_path, [utterance("s1-a"), utterance("s1-a")])


@pytest.mark.parametrize("name", ["a b", "../a", "a/b", "", ".hidden", "a\n"])
def test_unsafe_ids_are_refused(tmp_path, name):
    with pytest.raises(AvsrError, match="use only letters"):
        write_datadir(tmp_path, [utterance(name)])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wav.scp", b"a x\na y\n", "line 2: a is doubled"),
        ("wav.scp", b"b x\na y\n", "line 2: a is out of order"),
        ("wav.scp", b"a cat x |\n", "line 1: a has a pipe"),
        ("text", b"a \xff\xfe\n", "is not UTF-8"),
    ],
)
def test_bad_tables_get_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(AvsrError, match=message) as caught:
        read_table(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_parts_come_back_where_there_are_some(tmp_path):
    whole, part = utterance("s1-a"), replace(utterance("s1-b"), part=(1.2, 4.2))
    write_datadir(tmp_path, [whole, part])
    assert (tmp_path / "segments").read_text() == "s1-b s1-b 1.200 4.200\n"
    read = read_datadir(tmp_path)
    assert (read["s1-a"].part, read["s1-b"].part) == (None, (1.2, 4.2))
    assert (read["s1-a"].pictures, read["s1-b"].pictures) == (None, (30, 105))
    assert list(table_problems(tmp_path)) == []
    write_datadir(tmp_path, [whole])
    assert not (tmp_path / "segments").exists()


@pytest.mark.parametrize("entry", ["s1-a 1.0", "s1-a 2.0 1.0", "s1-a -1 1.0", "s1-a 0 nan", "s1-b 0 1", "s1-a 0 soon"])
def test_what_is_no_part_is_refused_with_its_table(tmp_path, entry):
    write_datadir(tmp_path, [utterance("s1-a")])
    (tmp_path / "segments").write_text(f"s1-a {entry}\n")
    with pytest.raises(AvsrError, match="segments: s1-a .*: must read 'utterance utterance start end'") as error:
        read_datadir(tmp_path)
    assert str(error.value) in table_problems(tmp_path)
