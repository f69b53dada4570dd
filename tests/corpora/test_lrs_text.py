"""The .txt of LRS clips, and where long clips are cut."""

import numpy as np
import pytest

from avsr.corpora.lrs_cut import cut
from avsr.corpora.lrs_text import read_transcript
from avsr.errors import UtteranceError
from tests.corpora.lrs_layout import HEAD, transcript

WORDS = [("AT", 0.1, 0.3), ("10:30", 0.3, 0.9), ("WORD", 1.0, 1.3)]


def put(tmp_path, text):
    path = tmp_path / "00001.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("head", ["Conf:  3\n", HEAD])
def test_text_and_words_are_found_by_name(tmp_path, head):
    said = read_transcript(put(tmp_path, transcript("AT 10:30  WORD {LG}", WORDS, head)))
    assert said.text == "AT 10:30 WORD {LG}"
    assert said.words == tuple((start, end, word) for word, start, end in WORDS)


def test_the_order_of_columns_and_what_follows_do_not_matter(tmp_path):
    path = put(tmp_path, "Conf: 5\r\nWORD SCORE END START\r\nHI 7.0 0.5 0.2\r\n\r\nNOTE this\r\nText: HI\r\n")
    assert read_transcript(path).words == ((0.2, 0.5, "HI"),) and read_transcript(path).text == "HI"


def test_without_a_table_there_are_no_word_times(tmp_path):
    assert read_transcript(put(tmp_path, transcript("A B"))).words == ()
    assert read_transcript(put(tmp_path, transcript("A B", []))).words == ()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("WORD START END ASDSCORE\nHI 0.1 0.2\n", "line 4: must read 'WORD START END ASDSCORE', numbers but the first"),
        ("WORD START END ASDSCORE\nHI 0.1 0.2 3 4\n", "line 4: must read"),
        ("WORD START END ASDSCORE\nHI 0.1 soon 3\n", "line 4: must read"),
        ("WORD START END ASDSCORE\nHI 0.1 nan 3\n", "line 4: must read"),
        ("WORD START END ASDSCORE\nHI 0.1 0.2 3\nYOU 0.5 0.4 3\n", "line 5: YOU goes from 0.5 to 0.4 s"),
        ("WORD START END ASDSCORE\nHI -0.1 0.2 3\n", "line 4: HI goes from -0.1 to 0.2 s"),
        ("WORD START END ASDSCORE\nHI 0.5 0.6 3\nYOU 0.1 0.4 3\n", "line 5: YOU starts before the word above"),
        ("WORD FROM TO\nHI 0.1 0.2\n", "line 3: a table of words needs START and END"),
    ],
)
def test_a_broken_table_is_named_with_its_line(tmp_path, table, words):
    path = put(tmp_path, f"Text:  HI YOU\n\n{table}")
    with pytest.raises(UtteranceError) as error:
        read_transcript(path)
    assert str(error.value).startswith(f"{path} {words}") and str(error.value).endswith("or leave the clip out")


def test_other_faults_of_the_file(tmp_path):
    with pytest.raises(UtteranceError, match="has no line 'Text: ...'"):
        read_transcript(put(tmp_path, "Conf: 5\n"))
    (tmp_path / "00001.txt").write_bytes(b"Text: \xff\n")
    with pytest.raises(UtteranceError, match="is not UTF-8"):
        read_transcript(tmp_path / "00001.txt")
    with pytest.raises(UtteranceError, match="cannot be read .No such file"):
        read_transcript(tmp_path / "00002.txt")


def words_at(*times):
    return tuple((start, end, f"W{k}") for k, (start, end) in enumerate(times))


def test_stretches_are_put_together_while_they_fit():
    # three stretches of 2 s, pauses of 1 s: two of them last 5 s, and 0.2 s at either end
    words = words_at((1, 2), (2, 3), (4, 5), (5, 6), (7, 8), (8, 9))
    parts = cut(words, 250, pause=0.4, longest=5.4)
    assert [(first, end, len(inside)) for first, end, inside in parts] == [(20, 155, 4), (170, 230, 2)]
    assert parts[1][2] == ((0.2, 1.2, "W4"), (1.2, 2.2, "W5"))
    assert [part[:2] for part in cut(words, 250, 0.4, 5.3)] == [(20, 80), (95, 155), (170, 230)]


def test_a_pause_of_just_so_much_is_none():
    words = words_at((0, 2), (2.4, 4.4), (4.84, 6.84))
    assert [len(part[2]) for part in cut(words, 200, 0.4, 5.0)] == [2, 1]


def test_a_stretch_without_a_pause_is_cut_at_the_longest_gap_of_its_middle():
    # gaps: 0.3 after the first word (near an end), 0.1 and 0.2 in the middle half
    words = words_at((0, 1), (1.3, 3), (3, 5), (5.1, 6), (6.2, 8), (8, 10))
    first, second = cut(words, 250, 0.4, 7.0)
    assert [word for _, _, word in first[2]] == ["W0", "W1", "W2", "W3"]
    assert (first[:2], second[:2]) == ((0, 153), (152, 250))  # 6.1 s is in the middle of picture 152


def test_where_no_gap_is_in_the_middle_half_the_nearest_is_taken():
    parts = cut(words_at((0, 1), (1, 2), (2, 9), (9, 10)), 250, 0.4, 8.5)
    assert [len(part[2]) for part in parts] == [2, 2]


def test_a_word_that_does_not_fit_is_refused():
    with pytest.raises(UtteranceError, match="W1 lasts 9.0 s, longer than prepare.longest"):
        cut(words_at((0, 1), (2, 11)), 300, 0.4, 5.0)


@pytest.mark.parametrize("seed", range(20))
def test_parts_of_any_table_hold_its_words_in_order_and_fit(seed):
    draw = np.random.default_rng(seed)
    steps = np.column_stack([draw.exponential(0.3, 60), draw.uniform(0.1, 0.9, 60)]).ravel().cumsum().round(2)
    words = tuple((start, end, f"W{k}") for k, (start, end) in enumerate(steps.reshape(-1, 2).tolist()))
    frames, longest = int(steps[-1] * 25) + 3, 6.0
    parts = cut(words, frames, 0.4, longest)
    assert [word for part in parts for _, _, word in part[2]] == [word for _, _, word in words]
    known = {word: (start, end) for start, end, word in words}
    for first, end, inside in parts:
        assert 0 <= first < end <= frames and end - first <= longest * 25
        for start, stop, word in inside:
            assert (start + first / 25, stop + first / 25) == pytest.approx(known[word], abs=2e-3)
            assert 0 <= start <= stop <= (end - first) / 25
    for one, two in zip(parts, parts[1:], strict=False):  # nothing more would have fitted
        assert two[1] - one[0] > longest * 25
