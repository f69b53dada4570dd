"""How stage 1 reads each corpus: from its folder to the utterances of every split."""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from avsr.errors import AvsrError, UsageError, UtteranceError
from avsr.parallel import map_threads
from avsr.stages.shards import failed_row
from avsr.storage.datadir import HELDOUT, Utterance

log = logging.getLogger("avsr")
SPLITS = ("train", "valid", "test")
OTHERS = "others"  # the data directory of competing talkers
Found = tuple[dict[str, list[Utterance]], list[list[str]]]  # utterances of the splits, rows of failed.tsv


@dataclass(frozen=True)
class PrepareConf:
    """Section `prepare:`. With a limit, only so many utterances of a split are kept, chosen by the seed."""

    train: int | None = None  # mini: how many to make; grid: at most so many; null: all (mini: 600, 60, 100)
    valid: int | None = None
    test: int | None = None
    others: int = 60  # one-speaker protocols: at most so many clips of each other speaker; 0: they are not heard
    valid_videos: int | None = None  # lrs3: so many videos of trainval validate; null: a tenth, at most 200
    pause: float = 0.4  # s; lrs: what is longer is a pause, at which long clips of pretrain are cut
    longest: float = 15.0  # s; lrs: of the parts
    camera: Literal["straight", "30deg", "both"] = "straight"  # tcd_timit: which views are read
    text: Literal["phones", "words"] = "phones"  # tcd_timit: what clips say, labels with times or sentences without
    valid_speakers: int | None = None  # tcd_timit: so many volunteers validate; null: a tenth of those not tested
    heldout: int = 0  # lrs: so many windows of pretrain do not train, energy errors are measured on them

    def __post_init__(self):
        if not 0 < self.pause < self.longest:
            raise ValueError("must be 0 < pause < longest")
        if self.valid_videos is not None and self.valid_videos < 1:
            raise ValueError("valid_videos must be 1 at least, or null")
        if self.valid_speakers is not None and self.valid_speakers < 1:
            raise ValueError("valid_speakers must be 1 at least, or null")


def read_grid(args: argparse.Namespace, conf: PrepareConf) -> Found:
    """GRID by --protocol, each split cut to its limit; with one speaker also the clips of the others, with GT
    volunteers of TCD-TIMIT, who have no transcripts. --nj files are opened at once.

    Raises AvsrError: no --corpus-dir, no clip there, too few speakers or clips for the protocol; UsageError for a
    protocol that is none. A clip that cannot be read is a row of the second result."""
    from avsr.corpora import grid, splits, tcd_timit
    from avsr.corpora.synthesis.cast import SEXES

    if args.corpus_dir is None:
        raise AvsrError("--corpus-dir is missing: give the folder of GRID (videos as <speaker>/<id>.mpg)")
    speakers = grid.find_clips(args.corpus_dir)
    alignments = grid.Alignments(args.corpus_dir)
    generated = is_generated(args.corpus_dir)
    chosen = _split_of_grid(args, speakers)
    failed: list[list[str]] = []

    def of_grid(clip: grid.Clip, alignment: Path | None) -> Utterance:
        utt = grid.utterance(clip, alignment)
        return replace(utt, sex=SEXES.get(clip.speaker, "")) if generated else utt

    def read(clip: grid.Clip | tcd_timit.Clip) -> Utterance:
        if isinstance(clip, tcd_timit.Clip):
            return tcd_timit.utterance(clip, "", ())
        return of_grid(clip, alignments.find(clip))

    found = {}
    for name in SPLITS:
        clips = splits.shuffled(chosen[name], args.seed, "limit")[: getattr(conf, name)]
        found[name] = _read_all(read, clips, args.nj, name, failed)
    if args.protocol in speakers:  # heard, not read: no word times, so a damaged alignment of theirs costs nothing
        others = splits.other_speakers(args.protocol, speakers, args.seed, conf.others)
        found[OTHERS] = [of_grid(clip, None) for clip in others]
    return found, sorted(failed)


def _split_of_grid(args: argparse.Namespace, speakers: dict) -> dict:
    """The clips of GRID, and with GT of TCD-TIMIT, that train, validate and test."""
    from avsr.corpora import gt, splits, tcd_timit

    one = args.protocol in speakers
    if is_generated(args.corpus_dir) and not one:  # it comes with its own list of splits
        if args.protocol != "mini":
            known = " ".join(["mini", *speakers])
            raise UsageError(
                f"--protocol {args.protocol}: {args.corpus_dir} is a generated corpus; choose one of: {known}"
            )
        return _listed(args.corpus_dir, speakers)
    if args.protocol != "GT" or one:
        return splits.make_split(args.protocol, speakers, args.seed)
    splits.protocol_g(speakers, args.seed)  # says who is missing before the other corpus is looked at
    if args.tcd_timit_dir is None:
        raise AvsrError("--tcd-timit-dir is missing: protocol GT takes volunteers of TCD-TIMIT; give its folder")
    volunteers = tcd_timit.find_clips(args.tcd_timit_dir, gt.CAMERA, "--tcd-timit-dir")
    return gt.make_split(speakers, volunteers, args.seed)


def read_mini(args: argparse.Namespace, conf: PrepareConf) -> Found:
    """The synthetic corpus, made first where it is not there; it lies in GRID's own layout."""
    from avsr.corpora.mini import MiniConf, make_corpus

    if args.protocol != "mini":
        raise UsageError(f"--protocol {args.protocol}: the mini corpus has the protocol mini alone")
    args.corpus_dir = args.corpus_dir or args.out.parent / "corpus"
    wanted = {name: count for name in SPLITS if (count := getattr(conf, name)) is not None}
    make_corpus(args.corpus_dir, MiniConf(**wanted), args.seed, args.nj)
    return read_grid(args, PrepareConf())


def is_generated(corpus: Path) -> bool:
    """Whether a corpus in GRID's layout is a synthetic one: avsr.corpora.mini puts corpus.json there, whole or not."""
    return (corpus / "corpus.json").exists()


def _listed(corpus: Path, speakers: dict) -> dict:
    from avsr.corpora.splits import check_split

    path = corpus / "splits.json"
    try:
        lists = {name: list(json.loads(path.read_text(encoding="utf-8"))[name]) for name in SPLITS}
    except FileNotFoundError:
        raise AvsrError(f"{path} is missing: {corpus} was not made to its end; run the mini recipe on it") from None
    except (ValueError, KeyError, TypeError):
        raise AvsrError(f"{path} is damaged; delete {corpus} and run stage 1 again") from None
    clips = {clip.utt: clip for found in speakers.values() for clip in found}
    missing = [utt for name in SPLITS for utt in lists[name] if utt not in clips]
    if missing:
        raise AvsrError(f"{path} names {missing[0]}, which is not there; delete {corpus} and run stage 1 again")
    chosen = {name: [clips[utt] for utt in lists[name]] for name in SPLITS}
    try:
        check_split(chosen, one=False)
    except AvsrError as error:
        raise AvsrError(f"{path}: {error}; delete {corpus} and run stage 1 again") from None
    return chosen


def read_lrw(args: argparse.Namespace, conf: PrepareConf) -> Found:
    """LRW with its own splits; a limit keeps so many clips of each word."""
    from avsr.corpora import lrw

    if args.corpus_dir is None:
        raise AvsrError("--corpus-dir is missing: give the folder of LRW, which holds lipread_mp4")
    if args.protocol != "lrw":
        raise UsageError(f"--protocol {args.protocol}: LRW has the protocol lrw alone")
    limits = {name: getattr(conf, name) for name in SPLITS}
    return {name: lrw.read_split(args.corpus_dir, name, limits[name], args.seed) for name in SPLITS}, []


def read_lrs(args: argparse.Namespace, conf: PrepareConf) -> Found:
    """LRS3 or LRS2 by --protocol. A limit keeps so many utterances, of as many clips; --nj files are opened at once."""
    from avsr.corpora import lrs
    from avsr.corpora.splits import shuffled
    from avsr.rng import unit

    if args.corpus_dir is None:
        raise AvsrError("--corpus-dir is missing: give the folder of LRS3 (pretrain, trainval, test) or LRS2 (main)")
    if args.protocol not in lrs.PROTOCOLS:
        raise UsageError(f"--protocol {args.protocol}: there is no such one; choose one of: {' '.join(lrs.PROTOCOLS)}")
    split = lrs.find_splits(args.corpus_dir, args.protocol, conf.valid_videos, args.seed)
    failed: list[list[str]] = []

    def read(clips: list[lrs.Clip], longest: float, what: str) -> list[list[Utterance]]:
        return _read_all(lambda clip: lrs.utterances(clip, conf.pause, longest), clips, args.nj, what, failed)

    found = {}
    if conf.heldout:
        found[HELDOUT], held_out = _held_out_windows(split, conf.heldout, args.seed, read)
        split["train"] = [clip for clip in split["train"] if clip.video not in held_out]
    for name in SPLITS:
        limit = getattr(conf, name)
        clips = shuffled(split[name], args.seed, "limit")[:limit]
        made = read(clips, conf.longest, name)
        lrs.say_left_out(name, made, conf.longest)
        parts = [utt for result in made for utt in result]
        found[name] = sorted(parts, key=lambda utt: unit(args.seed, utt.id, "limit"))[:limit]
    return found, sorted(failed)


def _held_out_windows(
    split: dict, wanted: int, seed: int, read: Callable[[list, float, str], list[list[Utterance]]]
) -> tuple[list[Utterance], set[str]]:
    """At most `wanted` windows, and the videos that they are from."""
    from avsr.corpora.lrs_heldout import SECONDS, videos_to_hold_out
    from avsr.rng import unit

    shortest, longest = SECONDS
    windows: list[Utterance] = []
    videos: set[str] = set()
    for clips in videos_to_hold_out(split, seed):
        if len(windows) >= wanted:
            break
        cut = [utt for result in read(clips, longest, HELDOUT) for utt in result]
        windows += [utt for utt in cut if utt.duration >= shortest]
        videos.add(clips[0].video)
    windows = sorted(windows, key=lambda utt: unit(seed, utt.id, "limit"))[:wanted]
    log.info("%s: %d windows of %g to %g s (asked: %d); videos of pretrain that no training sees: %d",
             HELDOUT, len(windows), shortest, longest, wanted, len(videos))  # fmt: skip
    return windows, videos


def read_tcd_timit(args: argparse.Namespace, conf: PrepareConf) -> Found:
    """TCD-TIMIT by --protocol; with one speaker also clips of the others. --nj files are opened at once.

    Raises AvsrError: no --corpus-dir, no clip, labels or prompts there, too few speakers or sentences for the protocol;
    UsageError for a protocol that is none. A clip that cannot be read is a row of the second result."""
    from avsr.corpora import tcd_timit, timit_text
    from avsr.corpora.splits import other_speakers, shuffled

    if args.corpus_dir is None:
        raise AvsrError("--corpus-dir is missing: give the folder of TCD-TIMIT, which holds volunteers")
    speakers = tcd_timit.find_clips(args.corpus_dir, conf.camera)
    split = tcd_timit.make_split(args.protocol, speakers, conf.valid_speakers, args.seed)
    labels = tcd_timit.Labels(args.corpus_dir) if conf.text == "phones" else None
    prompts = None if labels else timit_text.Prompts(args.corpus_dir)
    failed: list[list[str]] = []

    def utterance(clip: tcd_timit.Clip) -> Utterance:
        if labels:
            return tcd_timit.utterance(clip, "", labels.of(clip))
        return tcd_timit.utterance(clip, prompts.of(clip.path, clip.sentence), ())

    wanted = {name: shuffled(split[name], args.seed, "limit")[: getattr(conf, name)] for name in SPLITS}
    if args.protocol in speakers:
        wanted[OTHERS] = other_speakers(args.protocol, speakers, args.seed, conf.others)
    found = {name: _read_all(utterance, clips, args.nj, name, failed) for name, clips in wanted.items()}
    return found, sorted(failed)


def _read_all(
    work: Callable[[Any], Any], clips: Sequence[Any], nj: int, what: str, failed: list[list[str]]
) -> list[Any]:
    """What `work` makes of the clips that can be read, `nj` at once; the others become rows of `failed`."""

    def read(clip: Any) -> Any:
        try:
            return work(clip)
        except UtteranceError as error:
            return error

    made = map_threads(read, clips, nj, what)
    for clip, result in zip(clips, made, strict=True):
        if isinstance(result, UtteranceError):
            failed.append(failed_row(clip.utt, "prepare", result))
    return [result for result in made if not isinstance(result, UtteranceError)]


READERS: dict[str, Callable[[argparse.Namespace, PrepareConf], Found]] = {
    "mini": read_mini,
    "grid": read_grid,
    "lrw": read_lrw,
    "lrs": read_lrs,
    "tcd_timit": read_tcd_timit,
}
