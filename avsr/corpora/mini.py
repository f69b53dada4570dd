"""The mini corpus: synthetic talking faces that say sentences of GRID's grammar, in GRID's layout.

    python -m avsr.corpora.mini --out DIR --train 600 --valid 60 --test 100 --seed 0 --nj 2

It is made, not recorded: voices of espeak-ng and variants of one public-domain portrait, moved by the phonemes. Every
number measured on it is to be called synthetic. Speakers of one split appear in no other.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from avsr.config import to_dict
from avsr.corpora.grid import GRAMMAR, sentence
from avsr.corpora.synthesis import command, corpus
from avsr.corpora.synthesis.cast import SPLITS, VOICES, talkers
from avsr.corpora.synthesis.clip import Picture, Talker, make_clip
from avsr.corpora.synthesis.motion import Articulation
from avsr.corpora.synthesis.write import grid_files, write_grid
from avsr.errors import UsageError
from avsr.rng import rng
from avsr.storage.atomic import remove_leftovers, write_json, write_text

VERSION = 4  # of the generator: a change of what it makes from the same seed and configuration
LAYOUTS = {"grid": (write_grid, grid_files)}
SAID = {"a": "[['eI]]"}  # the letter; read as text it would be the article

README = """This corpus is synthetic. No person said these sentences; call every number measured on it synthetic.

Made by `python -m avsr.corpora.mini` ({counts} utterances for training, validation, test; seed {seed}).
Sentences: the grammar of the GRID corpus, six words; the file's name spells them (bbaf2n = bin blue at f two now).
Layout: <speaker>/<name>.mpg (MPEG-1 {width}x{height}, {fps:g} frames a second, MP2 44.1 kHz stereo) and
<speaker>/<name>.align (start, end in 1/25000 s, word). splits.json lists the utterances (<speaker>-<name>) of each
split; no speaker is in two. corpus.json holds the configuration.
"""


@dataclass(frozen=True)
class MiniConf:
    """What the corpus holds. Speakers: at most so many a split, none in two splits."""

    train: int = 600
    valid: int = 60
    test: int = 100
    train_speakers: int = 20
    valid_speakers: int = 2
    test_speakers: int = 4
    layout: str = "grid"
    picture: Picture = field(default_factory=Picture)
    articulation: Articulation = field(default_factory=Articulation)


@dataclass(frozen=True)
class MiniUtterance:
    """One sentence of the corpus; `name` is the six letters that spell it."""

    name: str
    talker: Talker
    split: str

    @property
    def id(self) -> str:
        """<speaker>-<name>."""
        return f"{self.talker.name}-{self.name}"

    @property
    def text(self) -> str:
        """The six words."""
        return sentence(self.name)


@dataclass(frozen=True)
class MiniCorpus:
    """Where the corpus lies and what is in it."""

    folder: Path
    utterances: tuple[MiniUtterance, ...]


def listing(conf: MiniConf, seed: int) -> tuple[MiniUtterance, ...]:
    """All utterances: each split has every word of the grammar equally often, and no sentence comes twice at all.

    Raises UsageError for counts that cannot be made."""
    _check(conf)
    utterances, taken = [], set()
    for split in SPLITS:
        count = getattr(conf, split)
        speakers = min(count, getattr(conf, f"{split}_speakers"))
        for index, name in enumerate(_names(count, taken, seed, split)):
            utterances.append(MiniUtterance(name, talkers(split)[index % speakers], split))
    return tuple(sorted(utterances, key=lambda utt: utt.id))


def make_corpus(folder: Path, conf: MiniConf | None = None, seed: int = 0, nj: int = 1) -> MiniCorpus:
    """Makes the corpus in `folder`, or what is not there yet of it, with `nj` processes. Same seed, same bytes.

    Raises AvsrError when the folder cannot be written, holds something else, or the disk is full.
    """
    folder, conf = Path(folder), conf or MiniConf()
    utterances = listing(conf, seed)
    files_of = LAYOUTS[conf.layout][1]
    corpus.make(
        folder, {"version": VERSION, "seed": seed, "conf": to_dict(conf)}, utterances,
        lambda utt: files_of(folder, utt.talker.name, utt.name), partial(_write, folder, conf, seed),
        lambda: _finish(folder, conf, seed, utterances), nj,
    )  # fmt: skip
    return MiniCorpus(folder, utterances)


def make_utterance(conf: MiniConf, seed: int, utt: MiniUtterance):
    """The clip of one utterance (synthesis.clip.Clip)."""
    words = [(word, SAID.get(word, word)) for word in utt.text.split()]
    return make_clip(words, utt.talker, conf.picture, conf.articulation, seed, utt.id)


def _check(conf: MiniConf) -> None:
    for split in SPLITS:
        if getattr(conf, split) < 1:
            raise UsageError(f"mini corpus: {split} must be at least 1 utterance, not {getattr(conf, split)}")
        if not 1 <= getattr(conf, f"{split}_speakers") <= len(VOICES[split]):
            raise UsageError(f"mini corpus: {split}_speakers must be 1 to {len(VOICES[split])}")
    if conf.layout not in LAYOUTS:
        raise UsageError(f"mini corpus: layout {conf.layout!r} is unknown; layouts: {' '.join(LAYOUTS)}")
    if conf.train + conf.valid + conf.test > 20_000:
        raise UsageError("mini corpus: at most 20000 utterances, as GRID's grammar has 64000 sentences")


def _names(count: int, taken: set[str], seed: int, split: str) -> Iterator[str]:
    columns = []
    for place, words in enumerate(GRAMMAR):
        chance = rng(seed, split, place, "mini sentences")
        letters = [list(words)[i] for _ in range(-(-count // len(words))) for i in chance.permutation(len(words))]
        columns.append([letters[i] for i in chance.permutation(count)])
    order = list(GRAMMAR[3])
    for letters in zip(*columns, strict=True):
        name = "".join(letters)
        while name in taken:
            name = name[:3] + order[(order.index(name[3]) + 1) % len(order)] + name[4:]
        taken.add(name)
        yield name


def _write(folder: Path, conf: MiniConf, seed: int, utt: MiniUtterance) -> None:
    LAYOUTS[conf.layout][0](folder, utt.name, make_utterance(conf, seed, utt))


def _finish(folder: Path, conf: MiniConf, seed: int, utterances: Sequence[MiniUtterance]) -> None:
    """README and, last, the list of splits: where that is, the corpus is whole."""
    if (folder / "splits.json").exists():
        return
    for speaker in {utt.talker.name for utt in utterances}:
        remove_leftovers(folder / speaker)
    picture, counts = conf.picture, f"{conf.train}, {conf.valid}, {conf.test}"
    size = {"width": picture.width, "height": picture.height, "fps": picture.fps}
    write_text(folder / "README.txt", README.format(counts=counts, seed=seed, **size) + command.CREDITS)
    write_json(folder / "splits.json", {split: [u.id for u in utterances if u.split == split] for split in SPLITS})


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return command.run("mini", __doc__, _options, _command, argv)


def _options(parser: argparse.ArgumentParser) -> None:
    for split in SPLITS:
        parser.add_argument(f"--{split}", type=int, default=getattr(MiniConf, split), help="utterances (%(default)s)")


def _command(args: argparse.Namespace) -> str:
    made = make_corpus(args.out, MiniConf(args.train, args.valid, args.test), args.seed, args.nj)
    return f"{made.folder}: {len(made.utterances)} synthetic utterances"


if __name__ == "__main__":
    sys.exit(main())
