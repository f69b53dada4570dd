"""What the bench of stages measures."""

from pathlib import Path

import pytest

from avsr.bench import stages
from avsr.bench.common import Options
from avsr.bench.usage import Usage
from avsr.storage.datadir import Utterance


def test_repeated_utterances_have_new_ids_and_the_same_files():
    source = [Utterance(f"s1-{k}", "s1", "BIN", Path(f"{k}.mpg"), None, 1.0) for k in range(2)]
    made = stages.repeated(source, 5)
    assert len({utt.id for utt in made}) == 5
    assert [utt.video.name for utt in made] == ["0.mpg", "1.mpg", "0.mpg", "1.mpg", "0.mpg"]


def test_growth_of_time_and_memory():
    usage = {100: Usage(11.0, 200.0), 200: Usage(21.0, 210.0), 400: Usage(66.0, 230.0)}
    rows = stages.growth(usage)
    found = {row.name: row.value for row in rows}
    assert found["crop, nj=1, 200 utterances: time"] == 21.0
    assert found["crop, nj=1, 400 utterances: memory of the largest process"] == 230.0
    time, memory = rows[-2:]
    assert time.value == pytest.approx(1.5) and time.missed and "400 against 100" in time.name
    assert memory.value == pytest.approx(1.15) and not memory.missed


@pytest.mark.parametrize("cores, target", [(1, None), (2, stages.FASTER)])
def test_speed_up_of_two_processes(monkeypatch, cores, target):
    monkeypatch.setattr(stages, "cores", lambda: cores)
    time, faster = stages.speed_up(200, Usage(30.0, 1.0), Usage(20.0, 1.0))
    assert (time.value, faster.value) == (20.0, 1.5)
    assert faster.target == target and faster.least and faster.missed == (cores > 1)


def test_stages_rows():
    rows = stages.run(Options(), clips=1, counts=(1, 2), frames=5)
    assert [row.unit for row in rows] == ["s", "MiB"] * 2 + ["x", "x"] + ["s", "x faster"]
    assert all(row.value > 0 for row in rows) and "2 utterances, nj=2" in rows[-1].name
