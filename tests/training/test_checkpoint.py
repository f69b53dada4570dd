"""Checkpoints that cannot be used: one clear line each, and nothing lost."""

import pickle
import resource
import signal
import sys
import types

import pytest
import torch

from avsr.errors import AvsrError
from avsr.training import checkpoint
from tests.training.toy import ToyModel, run_toy


@pytest.fixture
def trained(tmp_path):
    return run_toy(tmp_path / "run", epochs=1)


def line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_content_is_complete_and_free_of_pickled_objects(trained):
    newest = sorted(trained.parent.glob("checkpoint-*.pt"))[-1]
    content = torch.load(newest, weights_only=True)
    keys = {"system", "config", "seed", "precision", "position", "model", "optimiser", "schedule", "random", "commit"}
    assert keys <= set(content)
    assert content["config"]["train"]["lr"] == 0.01 and content["config"]["system"]["id"] == "toy"
    assert "optimiser" not in torch.load(trained, weights_only=True)


def test_newest_two_are_kept(tmp_path):
    for step in (1, 2, 30):
        checkpoint.save_newest(tmp_path, step, {"system": "toy"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-000000002.pt", "checkpoint-000000030.pt"]
    assert checkpoint.newest(tmp_path, "toy", print)[0].name == "checkpoint-000000030.pt"


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -100])
def test_cut_short(trained, keep):
    data = trained.read_bytes()
    trained.write_bytes(data[:keep])
    with pytest.raises(checkpoint.Damaged) as error:
        checkpoint.read(trained)
    assert str(trained) in line(error)


def test_every_changed_byte_of_the_weights_is_noticed(trained):
    data = bytearray(trained.read_bytes())
    weights = torch.load(trained, weights_only=True)["model"]["gru.weight_hh_l0"].numpy().tobytes()
    data[data.index(weights) + 5] ^= 1
    trained.write_bytes(data)
    with pytest.raises(checkpoint.Damaged, match="check sum"):
        checkpoint.read(trained)


def test_no_checkpoint_left_that_can_be_read(tmp_path):
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step:09d}.pt").write_bytes(b"rubbish")
    warnings = []
    with pytest.raises(AvsrError, match="no checkpoint in it can be read; delete the folder"):
        checkpoint.newest(tmp_path, "toy", warnings.append)
    assert len(warnings) == 2


def test_pickles_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("the pickle was run",))

    plain, inside = tmp_path / "plain.pt", tmp_path / "inside.pt"
    plain.write_bytes(pickle.dumps({"model": 1}))
    torch.save({"format": checkpoint.FORMAT, "system": Evil()}, inside)
    for path in (plain, inside):
        with pytest.raises(AvsrError, match="refused.*pickle") as error:
            checkpoint.read(path)
        assert not isinstance(error.value, checkpoint.Damaged) and str(path) in line(error)


def test_other_systems_and_foreign_files(trained, tmp_path):
    with pytest.raises(AvsrError, match="a checkpoint of the system toy, but eg_av is wanted"):
        checkpoint.read(trained, "eg_av")
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(AvsrError, match="not a checkpoint of this toolkit"):
        checkpoint.read(tmp_path / "foreign.pt")
    with pytest.raises(AvsrError, match="no such checkpoint"):
        checkpoint.read(tmp_path / "nothing.pt")


def test_weights_that_do_not_fit(trained):
    state = checkpoint.read(trained)["model"]
    with pytest.raises(AvsrError) as error:
        checkpoint.fill(ToyModel(size=9), state, trained)
    text = line(error)
    assert "of other size (first: gru.weight_ih_l0 (24, 16), the model has (27, 16))" in text
    with pytest.raises(AvsrError, match=r"1 weights missing \(first: head.bias\); 1 weights unknown \(first: x\)"):
        checkpoint.fill(ToyModel(), {**{k: v for k, v in state.items() if k != "head.bias"}, "x": state["mean"]}, "f")


def test_load_model_builds_it_from_the_stored_configuration(trained, monkeypatch):
    registry = types.ModuleType("avsr.models.registry")
    registry.build_model = lambda conf: ToyModel(conf["size"])
    monkeypatch.setitem(sys.modules, "avsr.models.registry", registry)
    model, meta = checkpoint.load_model(trained)
    assert not model.training and meta["seed"] == 1 and meta["system"] == "toy" and meta["valid"]["loss"] > 0
    stored = torch.load(trained, weights_only=True)["model"]
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())


def test_disk_full_leaves_the_checkpoint_before(tmp_path):
    path = checkpoint.save_newest(tmp_path, 1, {"system": "toy", "x": torch.ones(1000)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(AvsrError) as error:
            checkpoint.save_newest(tmp_path, 2, {"system": "toy", "x": torch.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "cannot write this checkpoint" in line(error) and "make room" in line(error)
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoint.newest(tmp_path, "toy", print)[0] == path
