"""Figures: the same bytes for the same arrays, small, on one scale."""

import numpy as np
import pytest
from PIL import Image

from avsr.errors import AvsrError
from avsr.scoring import figures


def panels(count):
    rng = np.random.default_rng(0)
    return [(f"system {k}", rng.random((300, 80)) * 10.0**-k) for k in range(count)]


def make():
    snrs = (10, 5, 0, -5, -10)
    curve = {snr: (50.0 - snr, 45.0 - snr, 55.0 - snr) for snr in snrs}
    log = {"epoch": np.arange(1, 6), "train": np.linspace(2, 1, 5), "valid": np.linspace(2, 1.5, 5)}
    rng = np.random.default_rng(1)
    lone = {0: (30.0, float("nan"), float("nan"))}
    return {
        "spectrogram": figures.spectrogram_panels(panels(5), boxes=[(0.5, 1.0, 10, 30)]),
        "wer": figures.error_against_snr({"A": curve, "AV": lone}, levels={"V": 60.0}),
        "training": figures.training_curves({"one": log, "two": log}, relative=True),
        "wer of many": figures.error_against_snr({f"{i} {s}": curve for i in "abcd" for s in "wxyz"},
                                                 looks={f"{i} {s}": (i, s) for i in "abcd" for s in "wxyz"}),
        "cost": figures.score_against_cost({"Speech": {"one": (0.1, 70.0, 68.0, 72.0), "two": (2.0, 75.0, 73.0, 78.0)},
                                            "Natural": {"two": (2.0, 74.0, float("nan"), float("nan"))}}),
        "seams": figures.error_by_position({"one": 1 + 0.1 * rng.random(20), "two": np.ones(20)}, 1.1),
        "mouths": figures.crop_sheet([(f"s{k}-x", rng.integers(0, 256, (8, 112, 112))) for k in range(4)]),
        "attention": figures.attention_map(rng.random((22, 75)), list("BIN BLUE AT F TWO NOW") + ["end"], 3.0),
        "gates": figures.gate_maps([(f"level {k}", rng.random((80 >> k, 300 >> k))) for k in range(5)], 3.0),
    }


def test_every_figure_is_small_and_the_same_twice(tmp_path):
    for name, figure in make().items():
        figures.save(figure, tmp_path / f"{name}.png")
    for name, figure in make().items():
        figures.save(figure, tmp_path / "again.png")
        data = (tmp_path / f"{name}.png").read_bytes()
        assert data == (tmp_path / "again.png").read_bytes(), name
        assert len(data) <= figures.LIMIT
        assert b"tEXt" not in data and b"tIME" not in data  # no version, no date
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width >= 320 and len(picture.getcolors(1 << 20)) > 4


def test_panels_share_one_scale():
    figure = figures.spectrogram_panels(panels(3), span_db=60.0)
    limits = {axis.images[0].get_clim() for axis in figure.axes[:3]}
    assert len(limits) == 1
    low, high = limits.pop()
    assert high == pytest.approx(20 * np.log10(panels(1)[0][1].max())) and high - low == pytest.approx(60)


def test_decibels_have_a_floor():
    np.testing.assert_allclose(figures.decibels(np.array([1.0, 0.1, 0.0])), [0.0, -20.0, -100.0])


def test_losses_are_drawn_relative_to_the_first_and_accuracies_as_they_are():
    log = {"epoch": np.arange(1, 4), "train": np.array([4.0, 2.0, 1.0]), "valid": np.array([0.1, 0.4, 0.7])}
    train, valid = figures.training_curves({"one": log}, "validation accuracy", relative=True).axes
    np.testing.assert_allclose(train.lines[0].get_ydata(), [1.0, 0.5, 0.25])
    np.testing.assert_allclose(valid.lines[0].get_ydata(), log["valid"])


def test_series_differ_in_more_than_colour():
    styles = [(style["marker"], style["ls"]) for style in map(figures._style, range(12))]
    assert len(set(styles)) == 12


def test_a_figure_that_cannot_be_small_is_refused(tmp_path):
    with pytest.raises(AvsrError, match="larger than 100 bytes"):
        figures.save(figures.spectrogram_panels(panels(1)), tmp_path / "x.png", limit=100)
    assert list(tmp_path.iterdir()) == []


def test_curves_have_the_colour_of_their_inputs_and_the_line_of_their_system():
    systems = ("EG", "TM", "GRU", "large")
    names = [f"{system} {inputs}" for inputs in ("A", "V", "AV", "VA", "VAV") for system in systems]
    styles = figures._looks(names, {name: tuple(name.split()[::-1]) for name in names})
    assert len({style["color"] for style in styles.values()}) == 5
    assert len({tuple(style.values()) for style in styles.values()}) == 20
    assert styles["EG A"]["color"] == styles["TM A"]["color"] != styles["TM V"]["color"]
    assert styles["EG A"]["ls"] == styles["EG VAV"]["ls"] != styles["TM VAV"]["ls"]
    alone = figures._looks(["one", "two"], {})
    assert alone["one"]["color"] != alone["two"]["color"] and alone["one"]["ls"] != alone["two"]["ls"]


def test_a_sheet_shows_every_crop_in_its_row():
    crops = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    figure = figures.crop_sheet([("a", crops), ("b", crops[:2] + 10)])
    shown = [axis.images[0].get_array()[0, ::4].tolist() for axis in figure.axes]
    assert shown == [[0, 1, 2], [10, 11]]
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["a", "b"]


def test_costs_are_on_a_logarithmic_axis_with_their_intervals():
    figure = figures.score_against_cost({"Speech": {"one": (0.1, 70.0, 68.0, 73.0), "two": (2.0, 75.0, 74.0, 76.0)}})
    (axis,) = figure.axes
    assert axis.get_xscale() == "log"
    one = axis.containers[0]
    assert one.lines[0].get_xydata().tolist() == [[0.1, 70.0]]
    assert one.lines[2][0].get_segments()[0][:, 1].tolist() == [68.0, 73.0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]


@pytest.mark.parametrize("factor", [1.03, 1.8])
def test_many_systems_of_like_or_unlike_cost_can_be_told_apart(factor):
    points = {f"system {i}": (0.05 * factor**i, 70.0 + i, 69.0 + i, 71.0 + i) for i in range(14)}
    figure = figures.score_against_cost({"Speech": points})
    (axis,) = figure.axes
    figure.canvas.draw()
    labels = [text.get_text() for which in ("major", "minor") for text in axis.get_xticklabels(which=which)]
    shown = [float(label) for label in labels if label]
    assert 3 <= len(shown) <= 8
    markers = [bar.lines[0] for bar in axis.containers]
    looks = {(one.get_color(), one.get_markerfacecolor(), one.get_marker()) for one in markers}
    assert len(looks) == len(points)
