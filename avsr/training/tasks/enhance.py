"""Enhancement: noisy mel magnitudes and the lips to clean mel magnitudes, for AVSE systems and the AE alike."""

import logging
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from avsr.features.mel import mel
from avsr.noise.lists import NoiseConf
from avsr.noise.sampler import ListMixer, MixSampler
from avsr.rng import rng
from avsr.storage.arrays import Store
from avsr.storage.lip_features import features_store
from avsr.training.conf import EnhanceOptions, phase_options
from avsr.training.task import Task
from avsr.training.tasks.batch import augment, pad_batch

log = logging.getLogger(__name__)

STATISTICS_BATCHES, STATISTICS_BATCH = 25, 8  # utterances that the normalisation is measured on
SEEN_BATCHES = 12  # of training clips, whose loss is measured at the end of a phase
SHIFT = 4  # pixels; decision: see docs/decisions.md
# What a model must be better than, where it has such a method: its name, and whose loss it gives.
BOUNDS = {"noisy_loss": "the noisy sound as it is", "audio_loss": "the audio branch alone"}


@dataclass(frozen=True)
class EnhanceData:
    """What the examples of an enhancement system are made of."""

    work_dir: Path
    mel_set: str
    video: str | None  # "crop80", "crop128", "feats" or None
    frame_multiple: int
    noise: NoiseConf
    seed: int
    flipped: bool = False  # in training, features of the mirrored clip stand for half of those of the clip


def video_store(work_dir: Path, split: str, video: str) -> Store:
    """The store of pictures or features that a system looks at."""
    if video == "feats":
        return features_store(work_dir, split)
    return Store(work_dir / "dump" / "video" / split / video, "stage 2 (crop)")


class TrainingFeatures:
    """The lip features that a training sees in one epoch: of each utterance one view, drawn anew in every epoch."""

    def __init__(self, work_dir: Path, seed: int, epoch: int):
        self._seed, self._epoch = seed, epoch
        self._views = [features_store(work_dir, "train", view) for view in ("straight", "flipped")]

    def __contains__(self, utt: str) -> bool:
        return utt in self._views[0]

    def read(self, utt: str) -> np.ndarray:
        """(T, D)."""
        return self._views[int(rng(self._seed, utt, self._epoch, "view").integers(2))].read(utt)


def seen_video(data: Any, split: str, epoch: int | None) -> Store | TrainingFeatures | None:
    """What the system of a task's `data` looks at: as it is stored, or in training (`epoch` given) one of two views."""
    if data.video == "feats" and data.flipped and epoch is not None:
        return TrainingFeatures(data.work_dir, data.seed, epoch)
    return video_store(data.work_dir, split, data.video) if data.video else None


class EnhanceExamples:
    """Utterances with fresh noise in training (`epoch` given), those of a noise list in validation.

    In training, `options.seconds` gives a part of each, of a length between the two, drawn anew in every epoch.
    """

    def __init__(self, data: EnhanceData, split: str, epoch: int | None, options: EnhanceOptions | None = None):
        self.data, self.epoch, self.options = data, epoch, options or EnhanceOptions()
        if epoch is None:
            # an AE, which is trained on babble alone, is selected by babble
            name = "train_like" if data.noise.natural or data.noise.p_speech else "babble"
            path = data.work_dir / "data" / f"{split}_noisy" / f"{name}.jsonl"
            self.mixer = ListMixer(path, data.work_dir, split)
        else:
            self.mixer = MixSampler(data.noise, data.work_dir, split, data.seed)
        self.video = seen_video(data, split, epoch)
        self.ids, self.lengths, self.starts = [], [], []
        listed = self.mixer.rows if epoch is None else None
        for utt in self.mixer.sources.utterances:
            frames = self.mixer.sources.stores["wave"].shape(utt)[0] // 640
            frames -= frames % data.frame_multiple
            if frames and (self.video is None or utt in self.video) and (listed is None or utt in listed):
                start, count = self._part(utt, frames)
                self.ids.append(utt)
                self.lengths.append(count)
                self.starts.append(start)

    def _part(self, utt: str, frames: int) -> tuple[int, int]:
        """First frame and number of frames of what is used of an utterance."""
        if self.options.seconds is None or self.epoch is None:
            return 0, frames
        draw, multiple = rng(self.data.seed, utt, self.epoch, "part"), self.data.frame_multiple
        count = round(25 * draw.uniform(*self.options.seconds)) // multiple * multiple
        count = min(max(count, multiple), frames)
        return int(draw.integers(0, frames - count + 1)), count

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict:
        utt, first, frames = self.ids[index], self.starts[index], self.lengths[index]
        noisy_n, clean_n = self.mixer.mixture(utt) if self.epoch is None else self.mixer.mixture(utt, self.epoch)
        noisy_n, clean_n = noisy_n[640 * first :], clean_n[640 * first :]
        if self.options.seconds is not None and self.epoch is not None:
            noisy_n, clean_n = noisy_n[: 640 * frames], clean_n[: 640 * frames]
        item = {
            "utts": utt,
            "frames": frames,
            "noisy_mel": mel(noisy_n, self.data.mel_set)[: 4 * frames],
            "clean_mel": mel(clean_n, self.data.mel_set)[: 4 * frames],
        }
        if self.video is not None:
            video = self._hidden(utt, self.video.read(utt)[first : first + frames])
            if self.data.video != "feats" and self.epoch is not None:
                video = augment(video, rng(self.data.seed, utt, self.epoch, "picture"), SHIFT)
            item[self.data.video] = video
        return item

    def _hidden(self, utt: str, video_thw: np.ndarray) -> np.ndarray:
        """The pictures, or features, of a training clip with those that `options` hide made the clip's mean."""
        options, frames = self.options, len(video_thw)
        if self.epoch is None or not (options.video_dropout or options.video_mask):
            return video_thw
        draw = rng(self.data.seed, utt, self.epoch, "hidden")
        count = frames if draw.random() < options.video_dropout else round(25 * draw.uniform(0, options.video_mask))
        first = int(draw.integers(0, frames - min(count, frames) + 1))
        video_thw = video_thw.copy()
        video_thw[first : first + count] = video_thw.mean(0, dtype=np.float64).astype(video_thw.dtype)
        return video_thw


class EnhanceTask(Task):
    """Trains an enhancement system: its own loss between estimate and clean speech, on valid frames only."""

    def __init__(self, data: EnhanceData):
        self.data = data

    def examples(self, phase, epoch):
        return EnhanceExamples(self.data, "train", epoch, phase_options("enhance", phase))

    def valid_examples(self, phase):
        return EnhanceExamples(self.data, "valid", None)

    def collate(self, items):
        return pad_batch(items)

    def loss(self, model, batch, phase):
        video = batch[self.data.video] if self.data.video else None
        total, count = model.loss(batch["noisy_mel"], batch["clean_mel"], video, batch["frames"])
        return total, count, {}

    def validate(self, model, batches, phase):
        """The mean loss. A network that is no better than what it must be better than (BOUNDS), where it can tell, is
        warned of."""
        sums = {name: [0.0, 0.0] for name in BOUNDS if hasattr(model, name)}

        def watched():
            for batch in batches:
                for name, both in sums.items():
                    total, count = getattr(model, name)(batch["noisy_mel"], batch["clean_mel"], batch["frames"])
                    both[0] += float(total)
                    both[1] += float(count)
                yield batch

        result = super().validate(model, watched(), phase)
        for name, (total, count) in sums.items():
            bound = total / max(count, 1.0)
            if result["loss"] >= bound:
                log.warning("the loss, %.5g, is not below that of %s, %.5g", result["loss"], BOUNDS[name], bound)
        return result

    def phase_end(self, model, phase, device):
        """The loss of some training clips in noise that training did not hear, their pictures moved as in training: how
        far below the validation loss it lies says how much was learnt by heart."""
        from avsr.training.loader import to_device  # imports torch

        batches = islice(statistics_batches(self.examples(phase, phase.epochs), self.data.seed), SEEN_BATCHES)
        return {"seen_loss": super().validate(model, (to_device(batch, device) for batch in batches), phase)["loss"]}

    def prepare(self, model):
        model.fit_statistics(statistics_batches(EnhanceExamples(self.data, "train", 0), self.data.seed))


def statistics_batches(examples, seed: int):
    """Batches of utterances chosen by hash, for what is measured on some of them, as the normalisation of inputs."""
    order = sorted(range(len(examples)), key=lambda i: rng(seed, examples.ids[i], "statistics").random())
    order = order[: STATISTICS_BATCHES * STATISTICS_BATCH]
    for start in range(0, len(order), STATISTICS_BATCH):
        yield pad_batch([examples[i] for i in order[start : start + STATISTICS_BATCH]])
