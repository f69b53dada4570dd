"""The study of reconstructions on a tiny work folder: its numbers are stage 9's, and bad input is one line."""

import re
import shutil

import numpy as np
import pytest

from avsr.features.stft import istft, stft
from avsr.noise.sampler import ListMixer
from avsr.scoring.reconstructions import METHODS, REFERENCES
from avsr.scoring.results import read_scores
from avsr.scoring.speech import METRICS, score_utterance
from avsr.stages import reconstructions
from avsr.stages.train_system import TrainStageConf
from tests.stages.enhanced import FAST, NATURAL, make_enhanced
from tests.stages.tiny import contents, one_line

SYSTEMS = ("audio_only_crn", "mhca_avcrn")
CONF = TrainStageConf(preset="tiny", train={name: FAST | {"batch": 2} for name in SYSTEMS})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A work folder after stage 9 and after the study of it, and what the study's page says."""
    work = make_enhanced(tmp_path_factory.mktemp("reconstructions") / "work", SYSTEMS, CONF, 30)
    before = contents(work)
    assert reconstructions.main([f"--work-dir={work}", "--nj=2"]) == 0
    after = contents(work)
    assert {name: after[name] for name in before} == before  # RESULTS.md and all scores are as they were
    assert all(name.startswith("exp/reconstructions") for name in set(after) - set(before))
    return work, (work / "exp/reconstructions.md").read_text()


def study_scores(work, row, method):
    return read_scores(work / f"exp/reconstructions/{row}/seed0/{NATURAL}/{method}.tsv")


@pytest.mark.parametrize(
    ("row", "method", "scored"),
    [(name, "gain", name) for name in SYSTEMS]
    + [("reference", "mel_gain", "oracle"), ("reference", "unprocessed", "unprocessed")],
)
def test_what_stage_9_scores_too_has_its_numbers(made, row, method, scored):
    ours, expected = (
        study_scores(made[0], row, method),
        read_scores(made[0] / f"exp/{scored}/seed0/{NATURAL}/scores.tsv"),
    )
    assert ours.utts == expected.utts and len(ours.utts) == 2
    for name in METRICS:
        np.testing.assert_array_equal(ours.columns[name], expected.columns[name])


def test_the_linear_oracle_is_clean_magnitude_with_noisy_phase(made):
    scores = study_scores(made[0], "reference", "linear")
    mixer = ListMixer(made[0] / f"data/test_noisy/{NATURAL}.jsonl", made[0], "test")
    for place, utt in enumerate(scores.utts):
        noisy_n, clean_n = (np.float64(wave_n) for wave_n in mixer.mixture(utt))
        wave_n = istft(np.abs(stft(clean_n)) * np.exp(1j * np.angle(stft(noisy_n))), len(clean_n))
        expected = score_utterance(clean_n.astype(np.float32), wave_n.astype(np.float32))
        assert scores.columns["si_sdr"][place] == pytest.approx(expected["si_sdr"], abs=0.1)  # but for the last frame


def test_the_page_has_every_way_of_every_system_and_its_origin(made):
    text = made[1]
    assert text.startswith("# Reconstructions and heads (synthetic)\n\nSplit: test. Utterances: 2 of 2 a list. ")
    titles = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert titles == [f"{title} (synthetic)" for title in (
        "True magnitudes: PESQ (raw P.862)", "True magnitudes: STOI %", "Trained systems: PESQ (raw P.862)",
        "Trained systems: STOI %", "`capped` minus `gain`, paired", "Where every row comes from")]  # fmt: skip
    assert set(METHODS) == {"gain", "capped", "pinv", "griffinlim", "gain_cap2"}
    assert f"| System | list | {' | '.join(METHODS)} |" in text
    for name in ("Audio-only CRN", "MHCA-AVCRN"):
        (stoi,) = re.findall(rf"^\| {name}, head mask \| {NATURAL} \|(.*)\|$", text.split("### ")[4], re.MULTILINE)
        values = [float(cell.split()[0]) for cell in stoi.split("|")]
        row = {"Audio-only CRN": SYSTEMS[0], "MHCA-AVCRN": SYSTEMS[1]}[name]
        expected = [study_scores(made[0], row, method).columns["stoi"].mean() for method in METHODS]
        assert values == pytest.approx(expected, abs=0.051)
    assert all(f"| {title} | " in text for title in REFERENCES.values())
    assert f"| MHCA-AVCRN | 0 | {NATURAL} | 2/2 | `mhca_avcrn/seed0/best.pt` " in text
    assert str(made[0]) not in text and "run again with `--split valid`" in text


def test_validation_says_which_setting_is_called_for_and_a_second_run_measures_nothing(made, capsys):
    work, before = made
    options = [f"--work-dir={work}", "--split=valid", "--utterances=1", "--sets", "train_like"]
    assert reconstructions.main(options) == 0
    said = capsys.readouterr().out
    text = (work / "exp/reconstructions_valid.md").read_text()
    assert text in said and "reconstructions: 3 ok, 0 failed, 0 skipped" in said
    assert "Utterances: 1 of 2 a list, chosen by hash, seed 0." in text and "valid_train_like" in text
    assert re.search(r"Called for: `score\.recon: (gain|capped)`|Cannot be said", text)
    assert reconstructions.main(options) == 0
    assert "3 measurements, 3 done before" in capsys.readouterr().out
    assert (work / "exp/reconstructions.md").read_text() == before


def test_a_checkpoint_has_a_row_of_its_own(made, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(made[0], work)
    best = shutil.copy(work / "exp/audio_only_crn/seed0/best.pt", tmp_path / "other.pt")
    assert reconstructions.main([f"--work-dir={work}", "--checkpoint", str(best), str(best)]) == 0
    text = (work / "exp/reconstructions.md").read_text()
    assert len(re.findall(r"^\| Audio-only CRN \(checkpoint [0-9a-f]{8}\), head mask \|", text, re.MULTILINE)) == 3
    assert "MHCA-AVCRN" not in text and str(tmp_path) not in text


def test_a_bad_utterance_is_listed_and_too_many_end_it(made, tmp_path, capsys):
    work = tmp_path / "work"
    shutil.copytree(made[0], work)
    path = work / f"data/test_noisy/{NATURAL}.jsonl"
    path.write_text(re.sub(r'"utt": "[^"]*"', '"utt": "gone"', path.read_text(), count=1))
    options = [f"--work-dir={work}", "--systems=audio_only_crn"]
    assert reconstructions.main(options) == 0
    assert "reconstructions: 2 ok, 2 failed, 0 skipped" in capsys.readouterr().out
    assert "(1/2)" in (work / "exp/reconstructions.md").read_text()
    assert len((work / f"exp/reconstructions/audio_only_crn/seed0/{NATURAL}/failed.tsv").read_text().splitlines()) == 2
    assert reconstructions.main([*options, "--max-fail-rate=0"]) == 3
    assert "1 of 2 utterances failed" in one_line(capsys)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--systems=mhca_avcrm"], 2, "no system 'mhca_avcrm'; near names: mhca_avcrn"),
        (["--systems=mhca_direct"], 2, "a preset's own (variants) is made by stage 6 (enhance) with that preset"),
        (["--systems=vse"], 1, "exp/vse: no finished training there: stage 6 (enhance) makes it; run that first"),
        (["--sets", "speech_-5dB"], 2, f"--sets speech_-5dB: no such list of test; there is {NATURAL}"),
        (["--checkpoint", "none.pt"], 1, "none.pt: there is no such checkpoint"),
        (["--utterances=0"], 2, "must be a whole number from 1 on, not 0"),
        (["--config=x.yaml"], 2, "unrecognized arguments: --config=x.yaml"),
    ],
)
def test_bad_options_are_one_line(made, options, code, message, capsys):
    before = contents(made[0])
    assert reconstructions.main([f"--work-dir={made[0]}", *options]) == code
    assert message in one_line(capsys)
    assert contents(made[0]) == before


def test_a_folder_without_trained_systems_or_lists(made, tmp_path, capsys):
    work = tmp_path / "work"
    shutil.copytree(made[0], work)
    shutil.rmtree(work / "data/test_noisy")
    assert reconstructions.main([f"--work-dir={work}"]) == 1
    assert f"{work}/data/test_noisy: holds no noise list for enhancement; stage 4 (mix)" in one_line(capsys)
    for name in SYSTEMS:
        (work / "exp" / name / "seed0/done.json").unlink()
    assert reconstructions.main([f"--work-dir={work}"]) == 1
    assert f"{work}/exp: no trained enhancement system (seed<k>/best.pt): stage 6 (enhance)" in one_line(capsys)
