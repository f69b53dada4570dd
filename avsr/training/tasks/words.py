"""Lip reading of single words: the classifier that the visual front-end is pretrained with (AE-MSR section 5.2)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsr.errors import AvsrError
from avsr.rng import rng
from avsr.storage.arrays import Store
from avsr.storage.datadir import read_datadir
from avsr.training.conf import phase_options
from avsr.training.task import Task
from avsr.training.tasks.batch import augment, pad_batch


@dataclass(frozen=True)
class WordsData:
    """Words cut from sentences by their times: `window` frames around the middle of each word."""

    work_dir: Path
    window: int  # video frames; LRW: 29
    seed: int
    shift: int = 4  # pixels of random shift in training


def word_list(work_dir: Path) -> list[str]:
    """The classes: all words of the training split with times, sorted. Raises AvsrError when there are none."""
    utterances = read_datadir(work_dir / "data" / "train")
    words = sorted({word for utt in utterances.values() for _, _, word in utt.words})
    if len(words) < 2:
        raise AvsrError(f"{work_dir}/data/train/ctm: has no word times; the front-end needs alignments of the corpus")
    return words


def check_validation(work_dir: Path, words: list[str]) -> None:
    """Raises AvsrError where the validation split has none of these words with times: nothing says which epoch is best,
    as with LRS3, whose validation clips have no word times."""
    utterances = read_datadir(work_dir / "data" / "valid")
    if not any(word in words for utt in utterances.values() for _, _, word in utt.words):
        raise AvsrError(
            f"{work_dir}/data/valid/ctm: has times of none of the words of training; "
            "give a front-end trained on another corpus with --frontend"
        )


class WordExamples:
    """One example a word, in training (`epoch` given) mirrored and shifted at random; `left_out` says of every other
    word of the split why it is none."""

    def __init__(self, data: WordsData, split: str, epoch: int | None):
        self.data, self.epoch = data, epoch
        self.crops = Store(data.work_dir / "dump" / "video" / split / "crop112", "stage 2 (crop)")
        classes = {word: number for number, word in enumerate(word_list(data.work_dir))}
        utterances = read_datadir(data.work_dir / "data" / split)
        self.ids, self.lengths, self._words = [], [], []
        self.left_out: dict[str, str] = {}
        for utt in self.crops.keys():
            for number, (start, end, word) in enumerate(utterances[utt].words):
                name, middle = f"{utt}.{number}", (start + end) / 2
                if word not in classes:
                    self.left_out[name] = f"{word} is not among the words of training"
                elif middle * 25 >= self.crops.shape(utt)[0]:
                    self.left_out[name] = f"{word} is spoken after the last picture"
                else:
                    self.ids.append(name)
                    self.lengths.append(data.window)
                    self._words.append((utt, middle, classes[word]))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict:
        utt, middle, label = self._words[index]
        crop_thw = self.crops.read(utt)
        first = round(middle * 25 - self.data.window / 2)
        # a word near an end of its clip: the outermost picture is repeated
        crop_thw = crop_thw[np.clip(np.arange(first, first + self.data.window), 0, len(crop_thw) - 1)]
        if self.epoch is not None:
            crop_thw = augment(crop_thw, rng(self.data.seed, self.ids[index], self.epoch, "picture"), self.data.shift)
        return {"utts": self.ids[index], "frames": self.data.window, "crop112": crop_thw, "label": label}


class WordsTask(Task):
    """Cross-entropy over words; a phase's option `head` says which back-end learns: dense or recurrent."""

    def __init__(self, data: WordsData):
        self.data = data

    def examples(self, phase, epoch):
        return WordExamples(self.data, "train", epoch)

    def valid_examples(self, phase):
        return WordExamples(self.data, "valid", None)

    def collate(self, items):
        return pad_batch(items)

    def loss(self, model, batch, phase):
        head = phase_options("lipread", phase).head
        total, count = model.loss(batch["crop112"], batch["frames"], batch["label"], head)
        return total, count, {}

    def validate(self, model, batches, phase):
        total = count = right = 0.0
        head = phase_options("lipread", phase).head
        for batch in batches:
            batch_sum, batch_count, _ = self.loss(model, batch, phase)
            logits_bn = model.logits(batch["crop112"], batch["frames"], head)
            total, count = total + float(batch_sum), count + float(batch_count)
            right += float((logits_bn.argmax(-1) == batch["label"]).sum())
        return {"loss": total / max(count, 1.0), "accuracy": right / max(count, 1.0)}
