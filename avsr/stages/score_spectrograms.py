"""Spectrograms of stage 9: what the enhancement systems make of a test utterance."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from avsr.features.mel import STFT, mel, mel_magnitude
from avsr.features.stft import stft
from avsr.noise.sampler import ListMixer
from avsr.scoring import figures
from avsr.scoring.examples import choose
from avsr.scoring.report import Run
from avsr.scoring.tables import System
from avsr.stages.score_jobs import ScoreJob, make_estimator
from avsr.stages.train_system import run_folder
from avsr.training.folder import RunFolder

FIGURE_SET, BABBLE_SET, NATURAL_SET = "speech_-5dB", "babble_-5dB", "natural_-5dB"
CENTRAL, CENTRAL_SAMPLES = "spectrograms_central.png", 100 * 160  # 100 frames of sound, 10 ms each
COMPARED, PROPOSED = ("vse", "av_se2"), "mhca_avcrn"  # of Figure 3 of MHCA-AVCRN, in its order
BIN_HZ = 25

Drawn = list[tuple[str, str]]  # file name in the folder of the figures, caption


def spectrograms(args: argparse.Namespace, conf: Any, run: Run, folder: Path) -> Drawn:
    """Clean, noisy and every enhancement system on one test utterance, on the interference that it is trained for: AVSE
    systems as waveforms against a competing talker, AE sub-networks (TCN-AE) by their mel estimates, in babble, and in
    babble on the central frames alone (AE-MSR Figure 8)."""
    drawn = []
    for name, test_set, title in (
        ("spectrograms.png", FIGURE_SET, "competing talker at -5 dB"),
        ("spectrograms_mel.png", BABBLE_SET, "babble at -5 dB: mel magnitudes"),
        (CENTRAL, BABBLE_SET, "babble at -5 dB on the central 100 frames alone: mel magnitudes"),
    ):
        mixer = list_mixer(args, test_set)
        systems = [one for one in run.systems if one.kind == "enhance" and one.enhances == (test_set == FIGURE_SET)]
        systems = [one for one in systems if finished(args, one.id)]
        if mixer is None or not systems:  # of rows that were gathered nothing is drawn here
            continue
        utt = drawn_utterances(conf, mixer)[0]
        waves = mixer.central(utt, CENTRAL_SAMPLES) if name == CENTRAL else mixer.mixture(utt)
        panels = _panels(args, conf, systems, waves, utt, test_set)
        bin_hz = BIN_HZ if test_set == FIGURE_SET else None
        figures.save(figures.spectrogram_panels(panels, bin_hz=bin_hz), folder / name)
        drawn.append((name, f"Utterance {utt}, {title}"))
    return drawn


def figure3(args: argparse.Namespace, conf: Any, run: Run, folder: Path) -> Drawn:
    """Figure 3 of MHCA-AVCRN: noisy, clean, VSE, AV(SE)² and the proposed system in natural noise at -5 dB, where that
    and at least one of the compared are trained. One for each utterance of `score.figure_utterance`; the boxes are of
    the first."""
    mixer = list_mixer(args, NATURAL_SET)
    rows = {row.id: row for row in run.systems if finished(args, row.id)}
    if mixer is None or PROPOSED not in rows or not any(name in rows for name in COMPARED):
        return []
    systems = [rows[name] for name in (*COMPARED, PROPOSED) if name in rows]
    drawn = []
    for number, utt in enumerate(drawn_utterances(conf, mixer)):
        clean, noisy, *made = _panels(args, conf, systems, mixer.mixture(utt), utt, NATURAL_SET)
        boxes = () if number else conf.figure_boxes
        name = f"figure3_{number + 1}.png" if number else "figure3.png"
        panels = [noisy, clean, *made]
        figures.save(figures.spectrogram_panels(panels, boxes=boxes, bin_hz=BIN_HZ), folder / name)
        drawn.append((name, f"Utterance {utt}, natural noise at -5 dB (MHCA-AVCRN Figure 3)"))
    return drawn


def drawn_utterances(conf: Any, mixer: ListMixer) -> list[str]:
    """The utterances of `score.figure_utterance`, or one of the list chosen by hash."""
    asked = conf.figure_utterance
    return [asked] if isinstance(asked, str) else [*(asked or choose(mixer.rows)[:1])]


def _panels(
    args: argparse.Namespace,
    conf: Any,
    systems: list[System],
    waves: tuple[np.ndarray, np.ndarray],
    utt: str,
    test_set: str,
) -> list[tuple[str, np.ndarray]]:
    """Titles and magnitudes of `waves`, (noisy, clean), as clean and noisy, and of what is made of them: of the STFT,
    or of mel bands on the babble list."""
    noisy_n, clean_n = waves
    frames = len(noisy_n) // 640 // 5 * 5
    noisy_n, clean_n = noisy_n[: 640 * frames], clean_n[: 640 * frames]
    waves, mels = [("clean", clean_n), ("noisy", noisy_n)], []
    for system in systems:
        best = finished(args, system.id)
        job = ScoreJob(system.id, "enhance", args.seed, test_set, args.work_dir, best, None, device=args.device)
        estimate, mel_set, _, seen = make_estimator(job, [utt])
        if not seen(utt):
            continue
        estimate_tf = estimate(utt, mel(noisy_n, mel_set), frames)
        if test_set != BABBLE_SET:
            waves.append((system.name, _wave(noisy_n, estimate_tf, mel_set, conf.recon)))
        else:
            if mel_set == STFT:  # drawn in the bands of the others
                estimate_tf = mel_magnitude(estimate_tf, "mel_htk")
            mels.append((f"{system.name}, mel estimate", estimate_tf))
    if test_set != BABBLE_SET:
        return [(title, np.abs(stft(wave_n))) for title, wave_n in waves]
    return [*((title, mel(wave_n, "mel_htk")) for title, wave_n in waves), *mels]


def finished(args: argparse.Namespace, system: str) -> Path | None:
    """The best checkpoint of a training that has ended."""
    run = RunFolder(run_folder(args.work_dir, system, args.seed))
    return run.best if run.done.exists() and run.best.exists() else None


def list_mixer(args: argparse.Namespace, name: str) -> ListMixer | None:
    """The mixtures of a noise list of the test split; None where there is no such list."""
    path = args.work_dir / "data" / "test_noisy" / f"{name}.jsonl"
    return ListMixer(path, args.work_dir, "test") if path.exists() else None


def _wave(noisy_n: np.ndarray, estimate_tf: np.ndarray, mel_set: str, recon: str) -> np.ndarray:
    from avsr.features.inversion import reconstruct

    return reconstruct(noisy_n, estimate_tf, mel_set, recon)
