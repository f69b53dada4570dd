"""Printed numbers: that they stand where they are printed, and agree with what the papers' text says about them."""

import pytest
import yaml

from avsr.errors import UsageError
from avsr.scoring.published import FOLDER, read_published


@pytest.fixture(scope="module")
def numbers():
    return read_published()


def value(numbers, *key) -> float:
    return float(numbers.cell(*key))


def test_differences_that_the_text_of_mhca_avcrn_names(numbers):
    """Section 4.2: +4.18 and +0.25 for both stages, +2.51 / +0.13 balancing alone, +2.13 / +0.11 filtering alone."""
    def gain(left, right, metric):
        return value(numbers, left, "natural_-5dB", metric) - value(numbers, right, "natural_-5dB", metric)

    none = "mhca_avcrn_wo_2stage"
    assert gain("mhca_avcrn", none, "stoi") == pytest.approx(4.18)
    assert gain("mhca_avcrn", none, "pesq_raw") == pytest.approx(0.25)
    assert gain("mhca_avcrn_wo_filtering", none, "stoi") == pytest.approx(2.51)
    assert gain("mhca_avcrn_wo_filtering", none, "pesq_raw") == pytest.approx(0.13)
    assert gain("mhca_avcrn_wo_balancing", none, "stoi") == pytest.approx(2.13)
    assert gain("mhca_avcrn_wo_balancing", none, "pesq_raw") == pytest.approx(0.11)


def test_numbers_that_the_text_of_ae_msr_names(numbers):
    assert value(numbers, "tm_v", "clean", "wer") - value(numbers, "eg_v", "clean", "wer") == pytest.approx(2.1)
    assert numbers.cell("tm_a", "babble_-5dB", "wer") == "87.9"
    assert numbers.cell("tm_va_1drn", "babble_-5dB", "wer") == "50.2"
    assert numbers.cell("tm_va_tcn", "babble_-5dB", "wer") == "49.5"
    assert numbers.cell("eg_va_1drn", "babble_0dB", "wer") == "36.6"
    assert numbers.cell("eg_vav_1drn", "babble_0dB", "wer") == "28.5"
    assert (numbers.cell("eg_a", "clean", "wer"), numbers.cell("eg_av", "clean", "wer")) == ("7.2", "6.8")


def test_directions_that_hold_in_print(numbers):
    """EG below TM, TCN below 1DRN, VAV below VA in every noisy cell: a mistyped digit would likely break one."""
    for snr in (10, 5, 0, -5, -10):
        on = f"babble_{snr}dB"
        for ae in ("1drn", "tcn"):
            for way in ("va", "vav"):
                assert value(numbers, f"eg_{way}_{ae}", on, "wer") < value(numbers, f"tm_{way}_{ae}", on, "wer")
            for model in ("eg", "tm"):
                vav, va = (value(numbers, f"{model}_{way}_{ae}", on, "wer") for way in ("vav", "va"))
                assert vav < va < value(numbers, f"{model}_av", on, "wer")
        for model in ("eg", "tm"):
            for way in ("va", "vav"):
                tcn, drn = (value(numbers, f"{model}_{way}_{ae}", on, "wer") for ae in ("tcn", "1drn"))
                assert tcn < drn


def test_a_cell_printed_twice_with_different_numbers_shows_both(numbers):
    assert numbers.cell("mhca_avcrn_wo_2stage", "natural_0dB", "pesq_raw") == "2.96 / 2.94"
    assert [one.table for one in numbers.entries("mhca_avcrn", "natural_0dB", "stoi")] == ["Table 1", "Table 2"]
    assert numbers.cell("mhca_avcrn", "natural_0dB", "stoi") == "90.10"  # as printed, with its zero


def test_what_is_not_printed_is_empty(numbers):
    assert numbers.cell("eg_va_tcn", "clean", "wer") == ""
    assert numbers.cell("mhca_avcrn", "own_-5dB", "stoi") == ""
    assert numbers.cell("chung_mt", "words", "top1") == ""  # the printed row is another network


def test_implied_pesq_is_table_1_minus_the_difference(numbers):
    table = yaml.safe_load((FOLDER / "mhca_avcrn.yaml").read_text())["tables"]["Table 3"]
    for k, test_set in enumerate(table["test_sets"]):
        for system, differences in table["pesq_difference"].items():
            implied = value(numbers, "mhca_avcrn", test_set, "pesq_raw") - float(differences[k])
            assert float(table["pesq_implied"][system][k]) == pytest.approx(implied)


def test_how_many_numbers_there_are(numbers):
    counts = {}
    for (_, _, metric), entries in numbers._cells.items():
        counts[metric] = counts.get(metric, 0) + len(entries)
    with_gate = 28 + 20 + 3 * 4  # Table 2 stands beside the block as its figure shows it too
    assert counts == {"stoi": with_gate, "pesq_raw": with_gate, "wer": 16 + 52, "energy_linear": 2 * 9, "top1": 4,
                      "pesq_difference": 6, "pesq_implied": 6}


@pytest.mark.parametrize(("rows", "message"), [("{psq: {a: [1]}}", "psq"), ("{stoi: {a: [1, 2]}}", "as many")])
def test_wrong_tables_are_refused(tmp_path, rows, message):
    text = f"paper: P\ncorpus: C\ntables:\n  Table 1:\n    test_sets: [clean]\n    metrics: {rows}\n"
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_published(tmp_path)
