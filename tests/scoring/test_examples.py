"""Examples in words: which utterances, and that every cell is that utterance's own."""

from avsr.rng import unit
from avsr.scoring.examples import choose, example_table
from avsr.scoring.results import Provenance, Results, write_scores
from avsr.scoring.tables import System
from avsr.scoring.words import read_trn, write_trn

ORIGIN = Provenance("mini", "tiny", "./run.sh", "abc")
A = System("eg_a", "EG A", "recognise", "mel_htk", "A", "unprocessed")
V = System("eg_v", "EG V", "recognise", "mel_htk", "V")
VA = System("eg_va_tcn", "TCN-EG VA", "joint", "mel_htk", "VA", "ae_tcn")
UTTS = [f"s{k}-x" for k in range(6)]
SETS = ("clean", "babble_5dB", "babble_0dB", "babble_-5dB")


def put(exp, system, test_set, errors: int, text: str):
    """Utterance k has `errors` errors in k + 2 words, and is taken for `text` and its own id."""
    folder = exp / system / "seed0" / test_set
    rows = {utt: {"words": k + 2, "word_errors": errors} for k, utt in enumerate(UTTS)}
    write_scores(folder / "scores.tsv", rows, ORIGIN)
    write_trn(folder / "hyp.trn", {utt: f"{text} {utt}" for utt in UTTS})
    write_trn(folder / "ref.trn", {utt: f"truth {utt}" for utt in UTTS})


def put_energy(exp, system, test_set, error: float):
    rows = {utt: {"energy_linear": error + k} for k, utt in enumerate(UTTS)}
    write_scores(exp / system / "seed0" / test_set / "scores.tsv", rows, ORIGIN)


def test_every_cell_is_of_its_own_utterance(tmp_path):
    for test_set in SETS:
        put(tmp_path, "eg_a", test_set, 1, f"heard {test_set}")
        put(tmp_path, "eg_va_tcn", test_set, 0, f"mended {test_set}")
        if test_set != "clean":
            put_energy(tmp_path, "unprocessed", test_set, 60.0)
            put_energy(tmp_path, "ae_tcn", test_set, 30.0)
    put(tmp_path, "eg_v", "clean", 2, "seen")
    table = example_table(tmp_path, Results.read(tmp_path, "mini", "tiny"), [VA, V, A], " (synthetic)")
    assert table.title == "Examples (AE-MSR Table 5) (synthetic)" and len(table.rows) == 4 * 4
    for number, (test_set, said) in enumerate(zip(SETS, ("clean", "5 dB", "0 dB", "-5 dB"), strict=True)):
        utt = sorted(UTTS, key=lambda utt: unit(utt, "example"))[number]
        k, caps = UTTS.index(utt), utt.upper()
        noisy, mended = ("–", "–") if test_set == "clean" else (f"{60 + k:.1f}", f"{30 + k:.1f}")
        assert table.rows[4 * number : 4 * number + 4] == [
            [f"{said}, `{utt}`", "what was said", f"TRUTH {caps}", "", ""],
            ["", "EG A", f"HEARD {test_set.upper()} {caps}", noisy, f"{100 / (k + 2):.1f}"],
            ["", "EG V", f"SEEN {caps}", "–", f"{200 / (k + 2):.1f}"],
            ["", "TCN-EG VA", f"MENDED {test_set.upper()} {caps}", mended, "0.0"],
        ]


def test_an_error_over_bins_is_left_out(tmp_path):
    for name in ("eg_a", "eg_va_tcn"):
        put(tmp_path, name, "babble_0dB", 1, "heard")
    put_energy(tmp_path, "unprocessed", "babble_0dB", 60.0)
    put_energy(tmp_path, "ae_tcn", "babble_0dB", 30.0)
    before = example_table(tmp_path, Results.read(tmp_path, "mini", "tiny"), [VA, A])
    rows = {utt: {"energy_stft": 30.0, "energy_stft_noisy": 60.0} for utt in UTTS}
    write_scores(tmp_path / "ae_tcn/seed0/babble_0dB/scores.tsv", rows, ORIGIN)
    after = example_table(tmp_path, Results.read(tmp_path, "mini", "tiny"), [VA, A])
    assert after.rows[:2] == before.rows[:2] and after.rows[2] == [*before.rows[2][:3], "–", before.rows[2][4]]
    assert after.notes[0].startswith(before.notes[0]) and "321 bins it is left out" in after.notes[0]


def test_only_utterances_with_words_and_conditions_that_were_scored(tmp_path):
    put(tmp_path, "eg_a", "babble_0dB", 1, "heard")
    rows = {utt: {"reason": "wer: the reference is empty"} if utt != "s4-x" else {"words": 2, "word_errors": 1}
            for utt in UTTS}
    write_scores(tmp_path / "eg_a/seed0/clean/scores.tsv", rows, ORIGIN)
    write_trn(tmp_path / "eg_a/seed0/clean/hyp.trn", {"s4-x": "clean"})
    table = example_table(tmp_path, Results.read(tmp_path, "mini", "tiny"), [A])
    assert [row[0] for row in table.rows if row[0]] == ["clean, `s4-x`", "0 dB, `s4-x`"]


def test_without_a_recogniser_there_is_no_table(tmp_path):
    put_energy(tmp_path, "unprocessed", "babble_0dB", 60.0)
    assert example_table(tmp_path, Results.read(tmp_path, "mini", "tiny"), [A]) is None


def test_the_choice_depends_on_ids_alone():
    assert choose(UTTS[::-1]) == choose(UTTS) == choose([*UTTS, *UTTS[:0]])
    assert len(choose(UTTS)) == 4 and len(choose(UTTS[:2])) == 2
    first = choose(UTTS)[0]
    assert choose([first, *(utt for utt in UTTS if utt < first)])[0] == first


def test_transcripts_round_trip(tmp_path):
    texts = {"s1-a": "BIN BLUE", "s2-b": ""}
    write_trn(tmp_path / "hyp.trn", texts)
    assert read_trn(tmp_path / "hyp.trn") == texts and read_trn(tmp_path / "none.trn") == {}
