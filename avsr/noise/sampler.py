"""Mixtures: fresh ones for every epoch of training, and those of a noise list."""

from pathlib import Path

import numpy as np

from avsr.errors import AvsrError
from avsr.noise.lists import CLEAN, NoiseConf, Row, draw_kind, read_list
from avsr.noise.mixing import mix, set_level, snr_gain
from avsr.noise.sources import NoiseSources
from avsr.rng import rng


class MixSampler:
    """Draws the noise of a training utterance anew in every epoch, by a hash of (seed, utterance, epoch).

    Kinds of noise that a split does not have for an utterance (no other talker, say) leave their share to the
    others. AvsrError when an earlier stage has not been run.
    """

    def __init__(self, conf: NoiseConf, work_dir: Path, split: str = "train", seed: int = 0):
        self.conf, self.seed = conf, seed
        self.sources = NoiseSources(work_dir, split)

    def mixture(self, utt: str, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(noisy, clean), each (640 T,) float32, both divided by RMS(noisy) / 0.05."""
        wave_n = self.sources.wave(utt)
        draw = rng(self.seed, utt, epoch, "training noise")
        if draw.random() >= self.conf.p_noise:
            return set_level(wave_n, wave_n)
        kind = draw_kind(self.sources, utt, self.conf, draw.random())
        if kind is None:
            raise AvsrError(f"{utt}: {self.sources.split} has no noise of the kinds that training asks for: "
                            "give more noise (--noise-dir, --speech-dir) or other weights")  # fmt: skip
        snr = float(draw.uniform(*self.conf.snr))
        cut = self.sources.draw(kind, utt, len(wave_n), draw)
        return mix(wave_n, cut.wave_n, snr_gain(wave_n, cut.wave_n, snr))


class ListMixer:
    """The mixtures of a noise list: the same ones whenever and by whomever they are asked for.

    AvsrError, before any mixture is made, when the list names noise that is not there.
    """

    def __init__(self, path: Path, work_dir: Path, split: str):
        self.path = Path(path)
        self.rows = read_list(path)
        self.sources = NoiseSources(work_dir, split)
        for utt, row in self.rows.items():
            if row.kind != CLEAN:
                self.sources.check(row.store, row.noise, where=f"{self.path}: {utt}")

    def mixture(self, utt: str) -> tuple[np.ndarray, np.ndarray]:
        """(noisy, clean), each (640 T,) float32, both divided by RMS(noisy) / 0.05.

        AvsrError when the list has no such utterance.
        """
        row, wave_n = self._row(utt), self.sources.wave(utt)
        if row.kind == CLEAN:
            return set_level(wave_n, wave_n)
        cut_n = self.sources.cut(row.store, row.noise, row.offset, len(wave_n), where=f"{self.path}: {utt}")
        return mix(wave_n, cut_n, row.gain)

    def central(self, utt: str, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """The mixture of a list of noise, heard in the central `samples` samples alone and silent around them.

        As in Figure 8 of AE-MSR, and for it alone. AvsrError as `mixture`.
        """
        row, wave_n = self._row(utt), self.sources.wave(utt)
        cut_n = self.sources.cut(row.store, row.noise, row.offset, len(wave_n), where=f"{self.path}: {utt}")
        first = max(len(wave_n) - samples, 0) // 2
        heard_n = np.zeros_like(cut_n)
        heard_n[first : first + samples] = cut_n[first : first + samples]
        return mix(wave_n, heard_n, row.gain)

    def _row(self, utt: str) -> Row:
        if utt not in self.rows:
            raise AvsrError(f"{self.path}: has no row for {utt}; run stage 4 (mix) again")
        return self.rows[utt]
