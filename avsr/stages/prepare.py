"""Stage 1: a corpus on disk becomes Kaldi data directories train, valid and test.

Reads the corpus (see --corpus), writes <out>/{train,valid,test}/ with text, wav.scp, video.scp, utt2spk, spk2utt,
utt2dur, ctm and spk2gender, and <out>/splits.json with the protocol, the counts and the ids of each split.
Under a one-speaker protocol also <out>/others/: clips of the other speakers of the corpus, whom stage 4 mixes in.
Clips whose alignment is damaged go to <out>/failed.tsv. With --shard the first part makes all tables.
"""

import argparse
import json
import logging
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from avsr.errors import AvsrError, UsageError, UtteranceError
from avsr.stages import common
from avsr.stages.shards import Counts, failed_row, write_failed
from avsr.storage.atomic import write_json
from avsr.storage.datadir import Utterance, in_order, table_files, write_datadir
from avsr.storage.markers import is_done, mark

log = logging.getLogger("avsr")
SPLITS = ("train", "valid", "test")
OTHERS = "others"  # the data directory of competing talkers


@dataclass(frozen=True)
class PrepareConf:
    """Section `prepare:`. With a limit, only so many utterances of a split are kept, chosen by the seed."""

    train: int | None = None  # mini: how many to make; grid: at most so many; null: all (mini: 600, 60, 100)
    valid: int | None = None
    test: int | None = None
    others: int = 60  # one-speaker protocols: at most so many clips of each other speaker; 0: they are not heard


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    parser = common.parser("prepare", __doc__)
    parser.add_argument("--corpus", choices=("mini", "grid"), required=True, help="which reader")
    parser.add_argument("--corpus-dir", type=Path, help="where the corpus lies (mini: made there when it is not)")
    parser.add_argument("--protocol", default="mini", help="grid: G, GT or a speaker as s1; mini: mini")
    parser.add_argument("--out", type=Path, required=True, help="folder of the data directories")
    return common.run(parser, body, argv)


def body(args: argparse.Namespace, stage: common.Stage) -> None:
    """Finds the utterances, splits them, writes the tables."""
    conf = stage.conf(PrepareConf)
    number, count = args.shard
    if number > 1:  # tables are whole or not at all
        log.info("part %d of %d: nothing to do, part 1 makes the tables", number, count)
        return
    splits, failed = read_mini(args, conf) if args.corpus == "mini" else read_grid(args, conf)
    total = sum(len(splits[name]) for name in SPLITS)  # without the others, of whom no file was opened
    write_failed(args.out, "prepare", failed)
    for name in SPLITS:
        if not splits[name]:
            stage.check_failed(args.out, len(failed), total + len(failed))
            raise AvsrError(f"{args.corpus_dir}: no utterance is left for {name}; see the limits in section prepare")
    skipped = total if _tables(args, splits) else 0
    log.info("%s: %s", args.out, Counts(total - skipped, len(failed), skipped))
    stage.check_failed(args.out, len(failed), total + len(failed))


def _tables(args: argparse.Namespace, splits: dict[str, list[Utterance]]) -> bool:
    """Writes the tables and splits.json; whether all was done before."""
    marker = args.out / "splits.json.done"
    key = [args.protocol, args.seed, {name: [vars(u) for u in splits[name]] for name in SPLITS}]
    others = splits.get(OTHERS, [])
    key += [[vars(u) for u in others]] if others else []
    key = json.loads(json.dumps(key, default=str))
    if is_done(marker, key):
        log.info("%s: done before", args.out)
        return True
    made = [*SPLITS, OTHERS] if others else SPLITS
    for name in made:
        in_order(args.out / name, splits[name])  # what is refused leaves the tables of before as they are
    marker.unlink(missing_ok=True)  # first: stopped on the way, tables of two runs must not count as done
    shutil.rmtree(args.out / OTHERS, ignore_errors=True)  # of another protocol
    for name in made:
        write_datadir(args.out / name, splits[name])
    lists = {name: sorted(utt.id for utt in splits[name]) for name in SPLITS}
    head = {"protocol": args.protocol, "seed": args.seed, "synthetic": is_generated(args.corpus_dir)}
    write_json(args.out / "splits.json", {**head, **lists})
    mark(marker, key, [args.out / "splits.json", *(path for name in made for path in table_files(args.out / name))])
    for name in made:
        speakers = sorted({utt.speaker for utt in splits[name]})
        log.info("%s: %d utterances of %d speakers: %s", name, len(splits[name]), len(speakers), " ".join(speakers))
    return False


def read_grid(args: argparse.Namespace, conf: PrepareConf) -> tuple[dict[str, list[Utterance]], list[list[str]]]:
    """GRID by --protocol, each split cut to its limit; with one speaker also the clips of the others. The second
    value: rows of failed.tsv."""
    from avsr.corpora import grid, splits
    from avsr.corpora.mini import SEXES

    if args.corpus_dir is None:
        raise AvsrError("--corpus-dir is missing: give the folder of GRID (videos as <speaker>/<id>.mpg)")
    speakers = grid.find_clips(args.corpus_dir)
    alignments = grid.Alignments(args.corpus_dir)
    generated = is_generated(args.corpus_dir)
    one = args.protocol in speakers
    if generated and not one:  # it comes with its own list of splits
        if args.protocol != "mini":
            known = " ".join(["mini", *speakers])
            raise UsageError(
                f"--protocol {args.protocol}: {args.corpus_dir} is a generated corpus; choose one of: {known}"
            )
        chosen = _listed(args.corpus_dir, speakers)
    else:
        chosen = splits.make_split(args.protocol, speakers, args.seed)
    splits.check_split(chosen, one=one)
    limits = {"train": conf.train, "valid": conf.valid, "test": conf.test}

    failed = []

    def utterances(clips: list[grid.Clip], aligned: bool = True) -> list[Utterance]:
        made = []
        for clip in clips:
            try:
                utt = grid.utterance(clip, alignments.find(clip) if aligned else None)
            except UtteranceError as error:
                failed.append(failed_row(clip.utt, "prepare", error))
                continue
            made.append(replace(utt, sex=SEXES.get(clip.speaker, "")) if generated else utt)
        return made

    found = {name: utterances(splits.shuffled(chosen[name], args.seed, "limit")[: limits[name]]) for name in SPLITS}
    if one:  # heard, not read: no word times, so a damaged alignment of theirs costs nothing
        others = splits.other_speakers(args.protocol, speakers, args.seed, conf.others)
        found[OTHERS] = utterances(others, aligned=False)
    return found, sorted(failed)


def read_mini(args: argparse.Namespace, conf: PrepareConf) -> tuple[dict[str, list[Utterance]], list[list[str]]]:
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


if __name__ == "__main__":
    sys.exit(main())
