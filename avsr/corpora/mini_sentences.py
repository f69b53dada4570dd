"""A corpus of synthetic talking faces that say English sentences, in LRS3's or LRS2's layout.

    python -m avsr.corpora.mini_sentences --out DIR --layout lrs3 --pretrain 400 --trainval 300 --test 100 --nj 2

It is made, not recorded: voices of espeak-ng and variants of one public-domain portrait. Every number measured on it is
to be called synthetic. Talkers of test appear nowhere else, nor do those of LRS2's validation. LRS3 names no
validation: whole videos of trainval are held out by who reads it, and their talkers may be heard in others.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avsr.config import to_dict
from avsr.corpora.synthesis import command, corpus
from avsr.corpora.synthesis.camera import film
from avsr.corpora.synthesis.cast import talkers
from avsr.corpora.synthesis.clip import Clip, Picture, Talker
from avsr.corpora.synthesis.lrs_files import DIGITS, LAYOUTS, LENGTH, PARTS, folder_of, text_of, write_lists
from avsr.corpora.synthesis.motion import Articulation
from avsr.corpora.synthesis.sentences import draw_sentence, spoken
from avsr.corpora.synthesis.talk import make_talk
from avsr.corpora.synthesis.write import encode_mp4
from avsr.errors import UsageError
from avsr.rng import rng
from avsr.storage.atomic import atomic_path, write_json, write_text

VERSION = 1  # of the generator: a change of what it makes from the same seed and configuration
PICTURE = Picture(width=256, height=320)  # of which LRS3's 224x224 are cut
SIZE, MOUTH = 224, (128, 112)  # px; row and column of the mouth, the middle of LRS3's fixed crop
CAST = {"pretrain": "train", "trainval": "train", "valid": "valid", "test": "test"}  # part -> split of synthesis.cast
VIDEOS = {"pretrain": (2, 40), "trainval": (12, 40), "valid": (2, 4), "test": (8, 8)}  # at least, at most
VIDEOS_OF_A_TALKER = 2
SENTENCES = (2, 5)  # of a pretrain clip: from, below
VALID = 40  # clips of LRS2's validation, unless said
MOST = 20_000  # clips: sentences of test occur nowhere else, and there are only so many short ones

README = """This corpus is synthetic. No person said these sentences; call every number measured on it synthetic.

Made by `python -m avsr.corpora.mini_sentences` (layout {layout}; clips: {counts}; seed {seed}).
Layout of {name}: {folders}/<video>/<5 digits>.mp4 (H.264 {size}x{size}, 25 pictures a second, AAC) and
.txt; those of pretrain hold several sentences and the times of their words. No sentence comes twice. No talker of test
(or of LRS2's val.txt) is in another split. corpus.json holds the configuration.
"""


@dataclass(frozen=True)
class MiniSentencesConf:
    """What the corpus holds: so many clips of each part. valid: LRS2's alone (None: 40), LRS3 has no such part."""

    layout: str = "lrs3"
    pretrain: int = 400
    trainval: int = 300
    test: int = 100
    valid: int | None = None
    # Clearer lips than mini's: in sentences without a grammar's fixed places there is more to tell apart.
    articulation: Articulation = Articulation(timing=0.01, gain=0.1, offset=0.03, scale=0.85)

    def counts(self) -> dict[str, int]:
        """Clips of each part of the layout."""
        return {part: VALID if getattr(self, part) is None else getattr(self, part) for part in PARTS[self.layout]}


@dataclass(frozen=True)
class MiniTalk:
    """One clip: `sentences` of a talker, one after the other; several clips make a video. split: the part."""

    video: str
    number: int
    talker: Talker
    split: str
    sentences: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        """<video>/<5 digits>, as the layouts' files are named, without extension."""
        return f"{self.video}/{self.number:05d}"

    @property
    def id(self) -> str:
        """<part>/<video>/<5 digits>."""
        return f"{self.split}/{self.name}"


def listing(conf: MiniSentencesConf, seed: int) -> tuple[MiniTalk, ...]:
    """All clips, those of a talker side by side; no sentence comes twice. The videos of a part take turns.

    Raises UsageError for counts that cannot be made."""
    _check(conf)
    made, taken = [], set()
    for part, count in conf.counts().items():
        cast, (least, most) = talkers(CAST[part]), VIDEOS[part]
        videos = min(count, max(least, min(count // 2, most)))
        for index in range(count):
            video, number = index % videos, index // videos + 1
            talker = cast[video // VIDEOS_OF_A_TALKER % len(cast)]
            said = _sentences(taken, seed, part, index)
            made.append(MiniTalk(_video_id(conf.layout, seed, part, video), number, talker, part, said))
    return tuple(sorted(made, key=lambda clip: (clip.talker.name, clip.id)))


def make_corpus(
    folder: Path, conf: MiniSentencesConf | None = None, seed: int = 0, nj: int = 1
) -> tuple[MiniTalk, ...]:
    """Makes the corpus in `folder`, or what is not there yet of it, with `nj` processes. Same seed, same bytes.

    Raises AvsrError when the folder cannot be written, holds something else, or the disk is full.
    """
    folder, conf = Path(folder), conf or MiniSentencesConf()
    clips = listing(conf, seed)
    made_from = {"version": VERSION, "seed": seed, "layout": conf.layout, "conf": to_dict(conf)}
    where, write = partial(files_of, folder, conf.layout), partial(_write, folder, conf, seed)
    corpus.make(folder, made_from, clips, where, write, partial(_finish, folder, conf, seed, clips), nj)
    return clips


def make_sentences(conf: MiniSentencesConf, seed: int, clip: MiniTalk) -> Clip:
    """The sentences of a clip in pictures of 224x224, the mouth about the middle of LRS3's fixed crop."""
    said = [spoken(words) for words in clip.sentences]
    made = make_talk(said, clip.talker, PICTURE, conf.articulation, seed, clip.id)
    return film(made, SIZE, MOUTH, seed, clip.split, clip.video)


def files_of(folder: Path, layout: str, clip: MiniTalk) -> tuple[Path, Path]:
    """The files of a clip."""
    place = Path(folder) / folder_of(layout, clip.split) / clip.video
    return place / f"{clip.number:05d}.mp4", place / f"{clip.number:05d}.txt"


def _check(conf: MiniSentencesConf) -> None:
    if conf.layout not in LAYOUTS:
        raise UsageError(f"sentences corpus: layout {conf.layout!r} is unknown; layouts: {' '.join(LAYOUTS)}")
    if conf.layout == "lrs3" and conf.valid is not None:
        raise UsageError("sentences corpus: LRS3 has no validation clips of its own; leave valid out, or take lrs2")
    for part, count in conf.counts().items():
        if count < 1:
            raise UsageError(f"sentences corpus: {part} must be at least 1 clip, not {count}")
    if sum(conf.counts().values()) > MOST:
        raise UsageError(f"sentences corpus: at most {MOST} clips, for no sentence comes twice")


def _video_id(layout: str, seed: int, part: str, video: int) -> str:
    letters = DIGITS[layout]
    return "".join(letters[i] for i in rng(seed, part, video, "video id").integers(len(letters), size=LENGTH[layout]))


def _sentences(taken: set[tuple[str, ...]], seed: int, part: str, index: int) -> tuple[tuple[str, ...], ...]:
    """What a clip says, which nobody has said before; short pretrain clips are more frequent than long ones."""
    chance = rng(seed, part, index, "sentences")
    count = min(chance.integers(*SENTENCES, size=2)) if part == "pretrain" else 1
    said = []
    while len(said) < count:
        words = draw_sentence(chance)
        if words not in taken:
            taken.add(words)
            said.append(words)
    return tuple(said)


def _write(folder: Path, conf: MiniSentencesConf, seed: int, clip: MiniTalk) -> None:
    """The .txt first: where the video is, the clip is whole."""
    video, text = files_of(folder, conf.layout, clip)
    made = make_sentences(conf, seed, clip)
    left, top = (PICTURE.width - SIZE) / 2 / PICTURE.width, (PICTURE.height - SIZE) / 2 / PICTURE.height
    box = (left, top, SIZE / PICTURE.width, SIZE / PICTURE.height)
    write_text(text, text_of(conf.layout, clip.video, made, box, words=clip.split == "pretrain"))
    content = encode_mp4(made, "veryfast")
    with atomic_path(video) as temporary:
        temporary.write_bytes(content)


def _finish(folder: Path, conf: MiniSentencesConf, seed: int, clips: Sequence[MiniTalk]) -> None:
    """LRS2's lists, README and, last, the mark that the corpus is whole."""
    if (folder / "whole.json").exists():
        return
    if conf.layout == "lrs2":
        write_lists(folder, ((clip.split, clip.name) for clip in clips))
    counts = conf.counts()
    folders = ",".join(sorted({folder_of(conf.layout, part) for part in counts}))
    said = ", ".join(f"{part} {count}" for part, count in counts.items())
    names = {"layout": conf.layout, "name": conf.layout.upper(), "folders": f"{{{folders}}}", "counts": said}
    write_text(folder / "README.txt", README.format(**names, seed=seed, size=SIZE) + command.CREDITS)
    write_json(folder / "whole.json", counts)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return command.run("mini_sentences", __doc__, _options, _command, argv)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layout", choices=LAYOUTS, default=MiniSentencesConf.layout, help="(%(default)s)")
    for part in PARTS["lrs3"]:
        default = getattr(MiniSentencesConf, part)
        parser.add_argument(f"--{part}", type=int, default=default, help="clips (%(default)s)")
    parser.add_argument("--valid", type=int, help=f"clips; layout lrs2 alone ({VALID})")


def _command(args: argparse.Namespace) -> str:
    started = time.monotonic()
    conf = MiniSentencesConf(args.layout, args.pretrain, args.trainval, args.test, args.valid)
    clips = make_corpus(args.out, conf, args.seed, args.nj)
    return f"{args.out}: {len(clips)} synthetic clips, {time.monotonic() - started:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
