"""Recognition: sound, lips or both to text, with the curriculum from single words to sentences."""

from collections import Counter
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

import numpy as np

from avsr.decoding.greedy import greedy
from avsr.features.mel import mel
from avsr.noise.lists import NoiseConf
from avsr.noise.sampler import ListMixer, MixSampler
from avsr.rng import rng
from avsr.scoring.words import count_errors
from avsr.storage.datadir import read_datadir
from avsr.text import Characters
from avsr.training.conf import RecogniseOptions, phase_options
from avsr.training.loader import to_device
from avsr.training.task import Task
from avsr.training.tasks.batch import pad_batch
from avsr.training.tasks.enhance import seen_video, statistics_batches

DECODED = 100  # validation utterances, at most, that are decoded at the end of a phase
BATCH = 16  # of them side by side


@dataclass(frozen=True)
class RecogniseData:
    """What the examples of a recogniser are made of."""

    work_dir: Path
    audio: bool
    video: str | None  # "feats" or None
    noise: NoiseConf  # where a phase adds noise
    seed: int
    flipped: bool = False  # in training, features of the mirrored clip stand for half of those of the clip
    units: Characters = Characters()  # what is written
    mel_set: str = "mel_htk"


class RecogniseExamples:
    """Utterances, or windows of a few words of them: at most `max_words`, at least half of them that long.

    Validation (`epoch` None) has windows too, always the same: a network that learns single words is judged by them.
    """

    def __init__(self, data: RecogniseData, split: str, epoch: int | None, options: RecogniseOptions):
        self.data, self.epoch = data, epoch
        self.max_words, self.by_length = options.words, options.by_length
        noise = NoiseConf(**{**vars(data.noise), "p_noise": options.p_noise})
        if epoch is not None:
            self.mixer = MixSampler(noise, data.work_dir, split, data.seed)
        else:
            name = "babble" if noise.p_noise else "clean"
            self.mixer = ListMixer(data.work_dir / "data" / f"{split}_noisy" / f"{name}.jsonl", data.work_dir, split)
        self.video = seen_video(data, split, epoch)
        self.utterances = read_datadir(data.work_dir / "data" / split)
        # Where the split has word times at all, clips without them wait for the phases of whole sentences.
        timed = bool(self.max_words) and any(row.words for row in self.utterances.values())
        self.ids, self.lengths, self.cuts = [], [], []
        for utt in self.mixer.sources.utterances:
            if self.video is not None and utt not in self.video or epoch is None and utt not in self.mixer.rows:
                continue
            if not data.units.clean(self.utterances[utt].text)[0]:  # an empty transcript: stage 7 says how many
                continue
            if timed and not self.utterances[utt].words:
                continue
            cut = self._cut(utt)
            self.ids.append(utt)
            self.lengths.append(cut[1] - cut[0])
            self.cuts.append(cut)

    def _cut(self, utt: str) -> tuple[int, int, str]:
        """First frame, last frame + 1 and text of what is used of an utterance."""
        row = self.utterances[utt]
        frames = self.mixer.sources.stores["wave"].shape(utt)[0] // 640
        words = [word for word in row.words if word[1] * 25 <= frames]
        if not self.max_words or not words or self.max_words >= len(words):
            return 0, frames, row.text
        draw = rng(self.data.seed, utt, "valid" if self.epoch is None else self.epoch, "words")
        count = self.max_words if draw.random() < 0.5 else int(draw.integers(1, self.max_words + 1))
        first = self._place(words, count, draw)
        chosen = words[first : first + count]
        start, end = floor(chosen[0][0] * 25), ceil(chosen[-1][1] * 25)
        return start, min(max(end, start + 1), frames), " ".join(word for _, _, word in chosen)

    def _place(self, words: list[tuple[float, float, str]], count: int, draw: np.random.Generator) -> int:
        """Which word a window of so many begins with."""
        places = len(words) - count + 1
        if not self.by_length:
            return int(draw.integers(0, places))
        characters = np.cumsum([0] + [len(word) for _, _, word in words])
        weights = characters[count:] - characters[:places]
        return int(draw.choice(places, p=weights / weights.sum()))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict:
        utt, (first, end, words) = self.ids[index], self.cuts[index]
        tokens = self.data.units.encode(words)
        item = {"utts": utt, "frames": end - first, "tokens": np.array(tokens), "token_lengths": len(tokens)}
        if self.data.audio:
            mixture = self.mixer.mixture(utt) if self.epoch is None else self.mixer.mixture(utt, self.epoch)
            item["noisy_mel"] = mel(mixture[0][640 * first : 640 * end], self.data.mel_set)
        if self.video is not None:
            item["feats"] = self.video.read(utt)[first:end]
        return item


class RecogniseTask(Task):
    """Cross-entropy over characters, or pieces of words, with teacher forcing.

    Phase options: words (null: whole), by_length, p_noise, sampling.
    """

    def __init__(self, data: RecogniseData):
        self.data = data

    def examples(self, phase, epoch):
        return RecogniseExamples(self.data, "train", epoch, phase_options("recognise", phase))

    def valid_examples(self, phase):
        return RecogniseExamples(self.data, "valid", None, phase_options("recognise", phase))

    def collate(self, items):
        return pad_batch(items)

    def phase_end(self, model, phase, device):
        examples = self.valid_examples(phase)
        decoded = sorted(range(len(examples)), key=lambda i: rng(self.data.seed, examples.ids[i], "decoded").random())
        decoded = sorted(decoded[:DECODED], key=lambda i: examples.lengths[i])  # of like length side by side
        errors: Counter[str] = Counter()
        for start in range(0, len(decoded), BATCH):
            batch = to_device(self.collate([examples[i] for i in decoded[start : start + BATCH]]), device)
            memory = model.encode(batch.get("noisy_mel"), batch.get("feats"), batch["frames"])
            for ids, gold in zip(greedy(model, memory, batch["frames"]), batch["tokens"].tolist(), strict=True):
                if reference := self.data.units.decode(gold):
                    errors.update(count_errors(reference, self.data.units.decode(ids)))
        rates = {"wer": ("word_errors", "words"), "cer": ("char_errors", "chars")}
        return {
            "words": max(len(text.split()) for _, _, text in examples.cuts),
            "clip": sum(examples.lengths) / len(examples) / 25,
            **{name: 100 * errors[wrong] / max(errors[all_], 1) for name, (wrong, all_) in rates.items()},
            "decoded": len(decoded),
        }

    def kept(self):
        return self.data.units.kept()

    def loss(self, model, batch, phase):
        sampling = phase_options("recognise", phase).sampling * self.progress
        inputs = (batch.get(name) for name in ("noisy_mel", "feats", "frames", "tokens", "token_lengths"))
        total, count = model.loss(*inputs, sampling)
        return total, count, {}

    def prepare(self, model):
        # at mixed SNRs, so that one normalisation serves clean and noisy speech
        examples = RecogniseExamples(self.data, "train", 0, RecogniseOptions(p_noise=0.5))
        model.fit_statistics(statistics_batches(examples, self.data.seed))


class JointTask(RecogniseTask):
    """The same with a frozen enhancer in front; both parts bring the normalisation of their inputs along."""

    def prepare(self, model):
        """Nothing: statistics were measured when the parts were trained."""
