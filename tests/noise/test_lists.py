import json

import pytest

from avsr.config import build
from avsr.errors import AvsrError, UsageError
from avsr.noise.lists import Condition, NoiseConf, Row, draw_kind, read_list, write_list

ROW = Row("s1-a", "natural", "noise", "rain-1", 17, -5.0, 0.1 + 0.2)


class Everything:
    """Sources that have these kinds for everyone."""

    def __init__(self, *kinds):
        self.kinds = kinds

    def can(self, kind, utt):
        return kind in self.kinds


def test_a_list_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "natural_-5dB.jsonl"
    write_list(path, [Row("s1-b", "clean"), ROW])
    assert list(read_list(path).items()) == [("s1-a", ROW), ("s1-b", Row("s1-b", "clean"))]
    first = json.loads(path.read_text().splitlines()[0])
    assert list(first) == ["utt", "kind", "store", "noise", "offset", "snr", "gain"]


def test_bad_lists_are_refused_by_line(tmp_path):
    path = tmp_path / "x.jsonl"
    with pytest.raises(AvsrError, match="x.jsonl is missing: stage 4"):
        read_list(path)
    path.write_text('{"utt": "a", "kind": "clean"}\n{"utt": "b", "noize": 1}\n')
    with pytest.raises(AvsrError, match="line 2: is no noise-list row"):
        read_list(path)
    path.write_text('{"utt": "a", "kind": "clean"}\n{"utt": "a", "kind": "cle')
    with pytest.raises(AvsrError, match="line 2: is no noise-list row"):
        read_list(path)
    path.write_text('{"utt": "a", "kind": "clean"}\n{"utt": "a", "kind": "clean"}\n')
    with pytest.raises(AvsrError, match="line 2: a is doubled"):
        read_list(path)


def test_names_of_conditions():
    names = [Condition(*pair).name for pair in (("natural", -5.0), ("speech", 0.0), ("babble", 2.5), ("babble", None))]
    assert names == ["natural_-5dB", "speech_0dB", "babble_2.5dB", "clean"]


def test_shares_of_the_kinds():
    assert NoiseConf().weights() == pytest.approx({"natural": 0.7, "speech": 0.15, "own": 0.15, "babble": 0})
    assert NoiseConf(natural=1, babble=3, p_speech=0).weights() == pytest.approx(
        {"natural": 0.25, "speech": 0, "own": 0, "babble": 0.75}
    )
    everything = Everything("natural", "speech", "own", "babble")
    drawn = [draw_kind(everything, "a", NoiseConf(), (n + 0.5) / 1000) for n in range(1000)]
    assert (drawn.count("natural"), drawn.count("speech"), drawn.count("own")) == (700, 150, 150)


def test_a_kind_that_is_not_there_leaves_its_share_to_the_others():
    drawn = [draw_kind(Everything("natural", "own"), "a", NoiseConf(), (n + 0.5) / 850) for n in range(850)]
    assert (drawn.count("natural"), drawn.count("own")) == (700, 150)
    assert draw_kind(Everything("babble"), "a", NoiseConf(), 0.5) is None
    assert draw_kind(Everything("natural"), "a", NoiseConf(), 1 - 2**-53) == "natural"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"p_noise": 1.5}, "between 0 and 1"),
        ({"snr": [10, -10]}, "lowest, highest"),
        ({"natural": 0.0, "p_speech": 0.0}, "some kind of noise above 0"),
        ({"natural": -1.0}, "must not be negative"),
        ({"p_speach": 0.1}, "did you mean 'p_speech'"),
    ],
)
def test_wrong_configurations_are_refused(keys, message):
    with pytest.raises(UsageError, match=message):
        build(NoiseConf, keys, "here")
