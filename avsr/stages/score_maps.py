"""Figures of what the networks look at: gates of MHCA-AVCRN, attention of EG-seq2seq, on one test utterance."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsr.features.mel import mel
from avsr.noise.sampler import ListMixer
from avsr.pieces import units_of
from avsr.scoring import figures
from avsr.storage.datadir import read_datadir
from avsr.training.checkpoint import load_model
from avsr.training.tasks.enhance import video_store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS_A_FRAME = 1 / 25


def gates(checkpoint: Path, mixer: ListMixer, work_dir: Path, utt: str) -> "Figure | None":
    """The gate of each decoder level of an MHCA-AVCRN that has one, its mean over channels, with its learnt alpha and
    beta (how much it attends at all); None for a network without gates."""
    import torch

    model, _ = load_model(checkpoint)
    if not getattr(model, "mhca", None):
        return None
    noisy_n, _ = mixer.mixture(utt)
    frames = len(noisy_n) // 640 // 5 * 5
    noisy_btf = torch.from_numpy(mel(noisy_n, model.mel_set))[None, : 4 * frames]
    video = torch.from_numpy(video_store(work_dir, "test", model.video_input).read(utt)[:frames])[None]
    maps = model.maps(noisy_btf, video, torch.tensor([frames]))
    panels = []
    for (level, block), one in zip(model.mhca.items(), maps, strict=True):
        gate_sft = one.gate.mean(1).numpy()  # slices of the utterance, one after another
        scalars = {"α": getattr(block, "alpha", None), "β": getattr(block, "beta", None)}
        title = [f"{name} {value.item():+.2f}" for name, value in scalars.items() if value is not None]
        panels.append((f"level {int(level) + 1}: {', '.join(title)}", np.concatenate(list(gate_sft), axis=1)))
    return figures.gate_maps(panels, frames * SECONDS_A_FRAME, "gate, mean over channels (0 closed, 1 open)")


def attention(checkpoint: Path, mixer: ListMixer, work_dir: Path, utt: str) -> "list[tuple[str, Figure]]":
    """The decoder's attention while it is given the right text: (modality, figure) each."""
    import torch

    model, content = load_model(checkpoint)
    row, units = read_datadir(work_dir / "data" / "test")[utt], units_of(content, str(checkpoint))
    noisy_n, _ = mixer.mixture(utt)
    frames = len(noisy_n) // 640
    noisy_btf = torch.from_numpy(mel(noisy_n, model.mel_set))[None] if model.audio_input else None
    feats = video_store(work_dir, "test", "feats").read(utt) if model.video_input else None
    tokens = units.encode(row.text)
    with torch.inference_mode():
        memory = model.encode(
            noisy_btf, None if feats is None else torch.from_numpy(feats)[None], torch.tensor([frames])
        )
        weights_kblt = model.attention(memory, torch.tensor([tokens])).numpy()
    names = [name for name, there in (("audio", model.audio_input), ("video", bool(model.video_input))) if there]
    labels = [units.label(token) for token in tokens]
    return [
        (name, figures.attention_map(weights_lt, labels, frames * SECONDS_A_FRAME, f"attention to the {name}"))
        for name, weights_lt in zip(names, weights_kblt[:, 0], strict=True)
    ]
