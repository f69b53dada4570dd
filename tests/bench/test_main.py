"""The command, its rows and targets, and the two benches of single parts. How fast anything is, is not asserted."""

import importlib

import pytest
import torch
from torch import nn

from avsr.bench import __main__ as command
from avsr.bench import eleatt, landmarks, stages
from avsr.bench.common import Options, Row


def test_targets_are_ceilings_or_floors():
    assert Row("a", 1.3, "x", 1.33).verdict == "at most 1.33: met" and not Row("a", 1.3, "x", 1.33).missed
    assert Row("a", 1.4, "x", 1.33).verdict == "at most 1.33: missed" and Row("a", 1.4, "x", 1.33).missed
    assert Row("a", 2.0, "x faster", 1.6, least=True).verdict == "at least 1.6: met"
    assert Row("a", 1.0, "x faster", 1.6, least=True).missed
    assert Row("a", 1e9, "ms").verdict == "" and not Row("a", 1e9, "ms").missed


@pytest.mark.parametrize("value, code", [(0.5, 0), (1.5, 1)])
def test_the_command_prints_rows_and_says_what_is_missed(monkeypatch, capsys, tmp_path, value, code):
    asked = []

    def run(options):
        asked.append(options)
        return [Row("speed of light", 3.0, "m/s"), Row("cost", value, "x", 1.0)]

    monkeypatch.setattr(stages, "run", run)
    assert command.main(["stages", "--threads", "3", "--clips", str(tmp_path)]) == code
    assert asked == [Options(3, tmp_path)]
    machine, speed, cost = capsys.readouterr().out.splitlines()
    assert "3 threads of torch" in machine and "h5py" in machine
    assert speed.split() == ["speed", "of", "light", "3.00", "m/s"]
    assert cost.endswith("at most 1: met" if code == 0 else "at most 1: missed")


def test_the_command_runs_every_bench_or_says_in_one_line_why_not(monkeypatch, capsys, tmp_path):
    for name in command.BENCHES:
        module = importlib.import_module(f"avsr.bench.{name}")
        monkeypatch.setattr(module, "run", lambda options, name=name: [Row(name, 1.0, "s")])
    assert command.main([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == list(command.BENCHES)
    monkeypatch.undo()
    assert command.main(["landmarks", "--clips", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"bench: {tmp_path}: holds no video files")


def test_eleatt_rows():
    rows = eleatt.run(Options(threads=1), sizes=((3, 2, 4, 5, {2: 1.33, 1: 1.45}),), repeats=3)
    assert [row.unit for row in rows] == ["ms", "ms", "x"] and min(row.value for row in rows) > 0
    assert rows[-1].target == 1.45 and "(T=3, B=2, D=4, H=5), 1 thread:" in rows[-1].name


@pytest.mark.parametrize("threads, targets", [(1, [1.45, 5.0, None]), (2, [1.33, 5.0, 1.67]), (3, [None] * 3)])
def test_eleatt_has_targets_where_one_is_stated(monkeypatch, threads, targets):
    monkeypatch.setattr(eleatt, "_seconds", lambda model, x_btd: 1.0)
    rows = eleatt.run(Options(threads), repeats=1)
    assert [row.target for row in rows if row.unit == "x"] == targets
    assert [bool(row.verdict) for row in rows if row.unit == "x"] == [target is not None for target in targets]


def test_two_threads_are_the_default(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(eleatt, "run", lambda options: asked.append(options) or [])
    assert command.main(["eleatt"]) == 0
    assert asked == [Options(2)] and "2 threads of torch" in capsys.readouterr().out


def test_eleatt_on_cuda(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main(["eleatt", "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "bench: --device cuda: no such CUDA device is there; use --device cpu\n"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = []
    monkeypatch.setattr(nn.Module, "to", lambda self, device: asked.append(device) or self)
    monkeypatch.setattr(torch, "randn", lambda *size, device, requires_grad: asked.append(device))
    tf32 = []
    monkeypatch.setattr(eleatt, "_seconds", lambda model, x_btd: tf32.append(torch.backends.cudnn.allow_tf32) or 1.0)
    rows = eleatt.run(Options(device="cuda"), repeats=1)
    assert asked == ["cuda"] * 3 and tf32 == [False] * 4 and torch.backends.cudnn.allow_tf32
    assert rows[-1].name == "EleAtt-GRU (T=300, B=64, D=512, H=512), CUDA, float32: ratio" and rows[-1].target == 2.0


def test_landmarks_rows():
    rows = landmarks.run(Options())
    assert rows[4].name == "landmarks of 1 clip: mean difference" and rows[4].value < 2.0
    faster = rows[1].value / rows[0].value  # of the same single clip, so the medians are one value
    assert rows[2].value == pytest.approx(faster) and rows[2].least and not rows[4].least
