"""A corpus of synthetic talking faces that say English sentences, in TCD-TIMIT's layout.

    python -m avsr.corpora.mini_tcd --out DIR --volunteers 20 --tested 4 --sentences 20 --seed 0 --nj 2

It is made, not recorded: voices of espeak-ng and variants of one public-domain portrait. Every number measured on it is
to be called synthetic. Two cameras see every sentence, at 29.97 pictures a second. Tested volunteers have names of the
reader's test list, and voices and faces of their own; of the others, each voice has two faces. Everybody says sa1 and
sa2, no other sentence comes twice.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avsr.config import to_dict
from avsr.corpora.synthesis import command, corpus
from avsr.corpora.synthesis.cast import SEXES, talkers
from avsr.corpora.synthesis.clip import Clip, Picture, Talker, make_clip
from avsr.corpora.synthesis.motion import Articulation
from avsr.corpora.synthesis.sentences import draw_sentence, spoken
from avsr.corpora.synthesis.tcd_files import label_rows, master_labels, turned
from avsr.corpora.synthesis.write import encode_mp4
from avsr.corpora.tcd_timit import CAMERAS, TEST
from avsr.errors import UsageError
from avsr.rng import rng
from avsr.storage.atomic import atomic_path, write_json, write_text

VERSION = 1  # of the generator: a change of what it makes from the same seed and configuration
PICTURE = Picture(width=768, height=432, fps=30_000 / 1001)  # eyes half as far apart again as in GRID
RATE = 48_000  # of the sound
COMMON = ("sa1", "sa2")  # what everybody says
FIRST = 501  # number of the first sentence that one speaker alone says
LIPSPEAKER = "Lipspkr1"
MOST = 1000  # sentences of a speaker

README = """This corpus is synthetic. No person said these sentences; call every number measured on it synthetic.

Made by `python -m avsr.corpora.mini_tcd` ({volunteers} volunteers who do not test, {tested} who do, a lip-speaker;
{sentences} sentences each; seed {seed}). Layout of TCD-TIMIT: {{volunteers,lipspeakers}}/<speaker>/Clips/
{{straightcam,30degcam}}/<sentence>.mp4 (H.264 {width}x{height}, 29.97 pictures a second, AAC at 48 kHz), phones in
*_labelfiles.mlf and beside the clips, sentences in prompts.txt. The picture of 30degcam is that of straightcam, made
narrower. corpus.json holds the configuration.
"""


@dataclass(frozen=True)
class MiniTcdConf:
    """What the corpus holds: volunteers who do not test and who do, sentences of each, sa1 and sa2 among them."""

    volunteers: int = 20
    tested: int = 4
    sentences: int = 20
    articulation: Articulation = Articulation(timing=0.01, gain=0.1, offset=0.03, scale=0.85)  # as mini_sentences


@dataclass(frozen=True)
class MiniSentence:
    """A sentence of a speaker, seen by both cameras. split: volunteers, tested or lipspeakers."""

    speaker: str
    name: str
    talker: Talker
    split: str
    words: tuple[str, ...]

    @property
    def id(self) -> str:
        """<speaker>/<sentence>."""
        return f"{self.speaker}/{self.name}"

    @property
    def kind(self) -> str:
        """The folder of all speakers like this one."""
        return "lipspeakers" if self.split == "lipspeakers" else "volunteers"


def listing(conf: MiniTcdConf, seed: int) -> tuple[MiniSentence, ...]:
    """All sentences, those of a speaker side by side. Raises UsageError for counts that cannot be made."""
    _check(conf)
    taken: set[tuple[str, ...]] = set()
    common = {name: _sentence(taken, seed, name) for name in COMMON}
    made = []
    number = FIRST
    for speaker, talker, split in _speakers(conf):
        said = dict(common)
        for _ in range(conf.sentences - len(COMMON)):
            said[f"si{number}"] = _sentence(taken, seed, number)
            number += 1
        made += [MiniSentence(speaker, name, talker, split, words) for name, words in said.items()]
    return tuple(made)


def make_corpus(
    folder: Path, conf: MiniTcdConf | None = None, seed: int = 0, nj: int = 1
) -> tuple[MiniSentence, ...]:
    """Makes the corpus in `folder`, or what is not there yet of it, with `nj` processes. Same seed, same bytes.

    Raises AvsrError when the folder cannot be written, holds something else, or the disk is full.
    """
    folder, conf = Path(folder), conf or MiniTcdConf()
    sentences = listing(conf, seed)
    made_from = {"version": VERSION, "seed": seed, "layout": "tcd_timit", "conf": to_dict(conf)}
    write, finish = partial(_write, folder, conf, seed), partial(_finish, folder, conf, seed, sentences)
    corpus.make(folder, made_from, sentences, partial(files_of, folder), write, finish, nj)
    return sentences


def make_sentence(conf: MiniTcdConf, seed: int, sentence: MiniSentence) -> Clip:
    """A sentence as the straight camera sees it."""
    return make_clip(spoken(sentence.words), sentence.talker, PICTURE, conf.articulation, seed, sentence.id)


def files_of(folder: Path, sentence: MiniSentence) -> tuple[Path, ...]:
    """The files of a sentence: the clips of both cameras, and the labels."""
    places = [Path(folder) / sentence.kind / sentence.speaker / "Clips" / camera for camera in CAMERAS.values()]
    return *(place / f"{sentence.name}.mp4" for place in places), places[0] / f"{sentence.name}.rec"


def _check(conf: MiniTcdConf) -> None:
    for name, least, most in (
        ("volunteers", 2, len(talkers("train"))), ("tested", 1, len(talkers("test"))), ("sentences", 3, MOST),
    ):  # fmt: skip
        if not least <= getattr(conf, name) <= most:
            raise UsageError(f"TCD-TIMIT corpus: {name} must be {least} to {most}, not {getattr(conf, name)}")


def _speakers(conf: MiniTcdConf) -> list[tuple[str, Talker, str]]:
    """Names as TCD-TIMIT's, who they are, and the split."""
    numbers = [number for number in range(1, 60) if f"{number:02d}" not in {name[:2] for name in TEST}]
    cast = zip(numbers, talkers("train")[: conf.volunteers], strict=False)
    made = [(f"{number:02d}{SEXES[who.name].upper()}", who, "volunteers") for number, who in cast]
    names = {sex: [name for name in TEST if name.endswith(sex)] for sex in "MF"}
    for who in talkers("test")[: conf.tested]:
        made.append((names[SEXES[who.name].upper()].pop(0), who, "tested"))
    woman = next(who for who in talkers("valid") if SEXES[who.name] == "f")
    return [*made, (LIPSPEAKER, woman, "lipspeakers")]


def _sentence(taken: set[tuple[str, ...]], seed: int, name: object) -> tuple[str, ...]:
    """What nobody has said before."""
    chance = rng(seed, name, "sentences")
    while (words := draw_sentence(chance)) in taken:
        pass
    taken.add(words)
    return words


def _write(folder: Path, conf: MiniTcdConf, seed: int, sentence: MiniSentence) -> None:
    straight, other, labels = files_of(folder, sentence)
    made = make_sentence(conf, seed, sentence)
    write_text(labels, label_rows(made))
    for path, clip in ((straight, made), (other, turned(made))):
        content = encode_mp4(clip, "veryfast", RATE)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)


def _finish(folder: Path, conf: MiniTcdConf, seed: int, sentences: Sequence[MiniSentence]) -> None:
    """Master label files, prompts, README and, last, the mark that the corpus is whole."""
    if (folder / "whole.json").exists():
        return
    for kind in ("volunteers", "lipspeakers"):
        paths = [files_of(folder, sentence)[-1] for sentence in sentences if sentence.kind == kind]
        labels = [(f"Q:/{path.relative_to(folder).as_posix()}", path.read_text(encoding="utf-8")) for path in paths]
        write_text(folder / f"{kind.removesuffix('s')}_labelfiles.mlf", master_labels(labels))
    said = {sentence.name: " ".join(sentence.words).capitalize() for sentence in sentences}
    write_text(folder / "prompts.txt", "".join(f"{text}. ({name})\n" for name, text in said.items()))
    counts = {name: getattr(conf, name) for name in ("volunteers", "tested", "sentences")}
    size = {"width": PICTURE.width, "height": PICTURE.height}
    write_text(folder / "README.txt", README.format(**counts, **size, seed=seed) + command.CREDITS)
    write_json(folder / "whole.json", counts)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return command.run("mini_tcd", __doc__, _options, _command, argv)


def _options(parser: argparse.ArgumentParser) -> None:
    for name, what in (
        ("volunteers", "volunteers who do not test"), ("tested", "volunteers who test"), ("sentences", "of each"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=getattr(MiniTcdConf, name), help=f"{what} (%(default)s)")


def _command(args: argparse.Namespace) -> str:
    sentences = make_corpus(args.out, MiniTcdConf(args.volunteers, args.tested, args.sentences), args.seed, args.nj)
    return f"{args.out}: {len(sentences)} synthetic sentences, each in two clips"


if __name__ == "__main__":
    sys.exit(main())
