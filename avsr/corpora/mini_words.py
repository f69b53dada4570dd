"""A corpus of synthetic talking faces that say single words, in LRW's layout.

    python -m avsr.corpora.mini_words --out DIR --words 50 --train 20 --valid 2 --test 4 --seed 0 --nj 2

It is made, not recorded: voices of espeak-ng and variants of one public-domain portrait. Every number measured on it is
to be called synthetic. Speakers of one split appear in no other; the clips do not say who speaks, as LRW's do not.
"""

import argparse
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avsr.config import to_dict
from avsr.corpora.lrw import FOLDERS, FRAMES, SECONDS
from avsr.corpora.synthesis import command, corpus
from avsr.corpora.synthesis.cast import SPLITS, talkers
from avsr.corpora.synthesis.clip import Clip, Picture, Talker, make_clip
from avsr.corpora.synthesis.motion import Articulation
from avsr.corpora.synthesis.write import cut_around_mouth, encode_mp4
from avsr.errors import UsageError
from avsr.storage.atomic import atomic_path, write_json, write_text

VERSION = 1  # of the generator: a change of what it makes from the same seed and configuration
PICTURE = Picture(width=400, height=320)  # of which LRW's 256x256 are cut
SIZE, MOUTH = 256, (163, 127)  # px; row and column of the mouth, the middle of LRW's fixed crop
WORDS = (
    "about above after again against almost always animal another answer autumn baby because before begin behind "
    "believe better between beyond book bottle bread bridge bring brother butter candle carry change children city "
    "clean cloud coffee colour country daughter develop dinner doctor during early earth eight enough evening every "
    "family father feather finger flower follow forest forward friend garden general ghost golden government happen "
    "harbour heavy history holiday hospital house hundred important island January journey kitchen ladder language "
    "laughter leather letter little machine market measure message minute Monday money month morning mother mountain "
    "music nature never number ocean office orange outside paper people perhaps picture pleasure power problem "
    "question quiet rabbit reason river school season seven shadow shoulder silver simple single sister smooth summer "
    "Sunday table teacher thousand through together tomorrow towards travel under usual valley village visit water "
    "weather welcome whisper window winter without wonderful yellow yesterday young"
).upper().split()  # fmt: skip

README = """This corpus is synthetic. No person said these words; call every number measured on it synthetic.

Made by `python -m avsr.corpora.mini_words` ({words} words; of each {train}, {valid}, {test} clips for training,
validation, test; seed {seed}). Layout of LRW: lipread_mp4/<WORD>/{{train,val,test}}/<WORD>_<5 digits>.mp4
(H.264 {size}x{size}, {frames} pictures at 25 a second, AAC) and .txt. No speaker is in two splits.
corpus.json holds the configuration.
"""


@dataclass(frozen=True)
class MiniWordsConf:
    """What the corpus holds: so many words, and so many clips of each in every split."""

    words: int = 50
    train: int = 20
    valid: int = 2
    test: int = 4
    articulation: Articulation = Articulation()


@dataclass(frozen=True)
class MiniWord:
    """One clip."""

    word: str
    number: int
    talker: Talker
    split: str

    @property
    def id(self) -> str:
        """<WORD>_<5 digits>, as LRW's files are named; the same in every split."""
        return f"{self.word}_{self.number:05d}"


def listing(conf: MiniWordsConf) -> tuple[MiniWord, ...]:
    """All clips; the talkers of a split take turns. Raises UsageError for counts that cannot be made."""
    if not 2 <= conf.words <= len(WORDS):
        raise UsageError(f"words corpus: words must be 2 to {len(WORDS)}, not {conf.words}")
    if min(conf.train, conf.valid, conf.test) < 1:
        raise UsageError("words corpus: train, valid and test must be at least 1 clip of each word")
    chosen = sorted(WORDS[index * len(WORDS) // conf.words] for index in range(conf.words))
    made = []
    for split in SPLITS:
        cast = talkers(split)
        for place, word in enumerate(chosen):
            for number in range(getattr(conf, split)):
                made.append(MiniWord(word, number + 1, cast[(place + number) % len(cast)], split))
    return tuple(sorted(made, key=lambda clip: (clip.talker.name, clip.split, clip.id)))


def make_corpus(folder: Path, conf: MiniWordsConf | None = None, seed: int = 0, nj: int = 1) -> tuple[MiniWord, ...]:
    """Makes the corpus in `folder`, or what is not there yet of it, with `nj` processes. Same seed, same bytes.

    Raises AvsrError when the folder cannot be written, holds something else, or the disk is full.
    """
    folder, conf = Path(folder), conf or MiniWordsConf()
    clips = listing(conf)
    made_from = {"version": VERSION, "seed": seed, "layout": "lrw", "conf": to_dict(conf)}
    write = partial(_write, folder, conf, seed)
    corpus.make(folder, made_from, clips, partial(files_of, folder), write, partial(_finish, folder, conf, seed), nj)
    return clips


def make_word(conf: MiniWordsConf, seed: int, clip: MiniWord) -> Clip:
    """One word in the middle of 29 pictures of 256x256, the mouth in the middle of LRW's fixed crop."""
    word = [(clip.word, clip.word.lower())]
    key = (seed, clip.split, clip.id)
    return cut_around_mouth(make_clip(word, clip.talker, PICTURE, conf.articulation, *key, frames=FRAMES), SIZE, MOUTH)


def files_of(folder: Path, clip: MiniWord) -> tuple[Path, Path]:
    """The files of a clip."""
    place = Path(folder) / "lipread_mp4" / clip.word / FOLDERS[clip.split]
    return place / f"{clip.id}.mp4", place / f"{clip.id}.txt"


def _write(folder: Path, conf: MiniWordsConf, seed: int, clip: MiniWord) -> None:
    """The .txt first: where the video is, the clip is whole."""
    video, text = files_of(folder, clip)
    made = make_word(conf, seed, clip)
    start, end, _ = made.words[0]
    lines = ("Disk reference: synthetic", "Channel: synthetic", f"Clip start: 0.00 seconds, {SECONDS:.2f} long")
    write_text(text, "\n".join((*lines, f"Duration: {end - start:.2f} seconds")) + "\n")
    content = encode_mp4(made)
    with atomic_path(video) as temporary:
        temporary.write_bytes(content)


def _finish(folder: Path, conf: MiniWordsConf, seed: int) -> None:
    """README and, last, the mark that the corpus is whole."""
    if (folder / "whole.json").exists():
        return
    counts = {name: getattr(conf, name) for name in ("words", *SPLITS)}
    write_text(folder / "README.txt", README.format(**counts, seed=seed, size=SIZE, frames=FRAMES) + command.CREDITS)
    write_json(folder / "whole.json", counts)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return command.run("mini_words", __doc__, _options, _command, argv)


def _options(parser: argparse.ArgumentParser) -> None:
    for name in ("words", *SPLITS):
        what = "words (%(default)s)" if name == "words" else "clips of each word (%(default)s)"
        parser.add_argument(f"--{name}", type=int, default=getattr(MiniWordsConf, name), help=what)


def _command(args: argparse.Namespace) -> str:
    conf = MiniWordsConf(args.words, args.train, args.valid, args.test)
    return f"{args.out}: {len(make_corpus(args.out, conf, args.seed, args.nj))} synthetic clips"


if __name__ == "__main__":
    sys.exit(main())
