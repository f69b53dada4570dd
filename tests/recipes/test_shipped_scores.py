"""The systems of avsr/shipped, scored again on ten real clips of the test split: the numbers of egs/grid/RESULTS.md."""

import pytest
import yaml

from avsr import shipped
from avsr.scoring.report import checkpoint_digest
from avsr.scoring.results import read_scores
from avsr.training import checkpoint
from tests.recipes.test_smoke import run_with

FOLDERS = {"corpus": "grid", "noise": "noise", "speech": "speech"}
SHORT = {
    "prepare": {"train": 2, "valid": 2, "test": 10},
    "mix": {"test_kinds_enhance": ["natural", "speech"], "test_snrs_enhance": [-5.0], "test_snrs_recognise": ["clean"]},
    **{stage: {"systems": []} for stage in ("pretrain", "enhance", "recognise", "joint")},
}


@pytest.fixture(scope="module")
def work(root, tmp_path_factory, real_data):
    """Ten clips of the test split: their crops, and the mixtures of the whole split's lists that are theirs."""
    folder = tmp_path_factory.mktemp("shipped")
    (folder / "short.yaml").write_text(yaml.safe_dump(SHORT))
    folders = [part for name, kind in FOLDERS.items() for part in (f"--{name}-dir", real_data / kind)]
    options = ["--recipe", "grid", "--protocol", "s1", "--preset", "tiny", "--work-dir", folder / "work"]
    run_with(root, folder / "short.yaml", *options, *folders, "--stop-stage", 4)
    for path in (shipped.ENHANCER, shipped.RECOGNISER):
        run_with(root, folder / "short.yaml", *options, "--stage", 9, "--checkpoint", path)
    return folder / "work"


def of_row(exp, path, test_set):
    """The scores of a shipped system, as stage 9 keeps them under `exp`."""
    content = checkpoint.read(path)
    row, seed = f"{content['system']}@{checkpoint_digest(path)[:8]}", content["config"]["train"]["seed"]
    return read_scores(exp / row / f"seed{seed}" / test_set / "scores.tsv")


@pytest.mark.parametrize(
    ("path", "test_set", "metric", "tolerance"),
    [
        (shipped.ENHANCER, "natural_-5dB", "stoi", 0.02),  # %
        (shipped.ENHANCER, "speech_-5dB", "stoi", 0.02),
        (shipped.ENHANCER, "speech_-5dB", "si_sdr", 0.02),  # dB
        (shipped.RECOGNISER, "clean", "word_errors", 0),
        (shipped.RECOGNISER, "clean", "char_errors", 0),
    ],
)
def test_ten_clips_have_the_scores_of_the_table(root, work, path, test_set, metric, tolerance):
    found = of_row(work / "exp", path, test_set)
    stored = of_row(root / "egs/grid/scores/s1-tiny", path, test_set)
    assert len(found.utts) == 10 and set(found.utts) <= set(stored.utts)
    for utt, value in zip(found.utts, found.columns[metric], strict=True):
        assert value == pytest.approx(stored.columns[metric][stored.utts.index(utt)], abs=tolerance), utt
