"""Stage 1: a corpus on disk becomes Kaldi data directories train, valid and test.

Reads the corpus (see --corpus), writes <out>/{train,valid,test}/ with text, wav.scp, video.scp, utt2spk, spk2utt,
utt2dur, ctm, spk2gender and segments, and <out>/splits.json with the protocol, the counts and the ids of each split.
Under a one-speaker protocol also <out>/others/: clips of the other speakers of the corpus, whom stage 4 mixes in; of
LRS also <out>/heldout/: windows of pretrain that no training sees, for energy errors.
Clips whose alignment or transcript is damaged go to <out>/failed.tsv. With --shard the first part makes all tables.
"""

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path

from avsr.errors import AvsrError, UsageError
from avsr.stages import common
from avsr.stages.prepare_readers import OTHERS, READERS, SPLITS, PrepareConf, is_generated
from avsr.stages.shards import Counts, write_failed
from avsr.storage.atomic import write_json
from avsr.storage.datadir import HELDOUT, UNSEEN, Utterance, in_order, table_files, write_datadir
from avsr.storage.markers import is_done, mark

log = logging.getLogger("avsr")
PROTOCOLS = "grid: G, GT, s1 ...; lrs: lrs3, lrs2; tcd_timit: volunteers, all, 01M ...; else the corpus"
SEXES = {"male": "m", "female": "f", "unknown": ""}
NAMED = 40  # so many speakers are all named in the log


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    parser = common.parser("prepare", __doc__)
    parser.add_argument("--corpus", choices=tuple(READERS), required=True, help="which reader")
    parser.add_argument("--corpus-dir", type=Path, help="where the corpus lies (mini: made there when it is not)")
    parser.add_argument("--tcd-timit-dir", type=Path, help="grid, protocol GT: the folder of TCD-TIMIT")
    parser.add_argument("--protocol", default="mini", help=PROTOCOLS)
    parser.add_argument("--out", type=Path, required=True, help="folder of the data directories")
    return common.run(parser, body, argv)


def body(args: argparse.Namespace, stage: common.Stage) -> None:
    """Finds the utterances, splits them, writes the tables."""
    conf = stage.conf(PrepareConf)
    number, count = args.shard
    if number > 1:  # tables are whole or not at all
        log.info("part %d of %d: nothing to do, part 1 makes the tables", number, count)
        return
    if args.tcd_timit_dir and (args.corpus, args.protocol) != ("grid", "GT"):
        raise UsageError("--tcd-timit-dir: only GRID's protocol GT takes a second corpus")
    splits, failed = READERS[args.corpus](args, conf)
    total = sum(len(found) for name, found in splits.items() if name != OTHERS)  # of others no file was opened
    write_failed(args.out, "prepare", failed)
    for name in SPLITS:
        if not splits[name]:
            stage.check_failed(args.out, len(failed), total + len(failed))
            raise AvsrError(f"{args.corpus_dir}: no utterance is left for {name}; see the limits in section prepare")
    skipped = total if _tables(args, splits, conf.text if args.corpus == "tcd_timit" else "words") else 0
    _say(args, {name: utts for name, utts in splits.items() if utts})
    log.info("%s: %s", args.out, Counts(total - skipped, len(failed), skipped))
    stage.check_failed(args.out, len(failed), total + len(failed))


def _tables(args: argparse.Namespace, splits: dict[str, list[Utterance]], text: str) -> bool:
    """Writes the tables and splits.json, which says where transcripts (`text`) are phones and where no tested speaker
    is in another split; returns whether all was done before."""
    marker = args.out / "splits.json.done"
    parts = [name for name in (*SPLITS, HELDOUT) if splits.get(name)]
    key = [args.protocol, args.seed, {name: [_row(u) for u in splits[name]] for name in parts}]
    others = splits.get(OTHERS, [])
    key += [[_row(u) for u in others]] if others else []
    key += [text] if text == "phones" else []
    key = json.loads(json.dumps(key, default=str))
    if is_done(marker, key):
        log.info("%s: done before", args.out)
        return True
    made = [*parts, OTHERS] if others else parts
    for name in made:
        in_order(args.out / name, splits[name])  # what is refused leaves the tables of before as they are
    marker.unlink(missing_ok=True)  # first: stopped on the way, tables of two runs must not count as done
    for name in (HELDOUT, OTHERS):  # of another protocol
        shutil.rmtree(args.out / name, ignore_errors=True)
    for name in made:
        write_datadir(args.out / name, splits[name])
    lists = {name: sorted(utt.id for utt in splits[name]) for name in parts}
    said = {"text": text} if text == "phones" else {}  # else words, of every corpus
    seen = {utt.speaker for name in parts if name != "test" for utt in splits[name]}
    said |= {UNSEEN: True} if seen.isdisjoint(utt.speaker for utt in splits["test"]) else {}
    made_up = any(is_generated(folder) for folder in (args.corpus_dir, args.tcd_timit_dir) if folder)
    head = {"protocol": args.protocol, "seed": args.seed, "synthetic": made_up}
    write_json(args.out / "splits.json", {**head, **said, **lists})
    mark(marker, key, [args.out / "splits.json", *(path for name in made for path in table_files(args.out / name))])
    return False


def _say(args: argparse.Namespace, splits: dict[str, list[Utterance]]) -> None:
    """Logs who is in which split: how many utterances and speakers, of which sex where that is known."""
    log.info("protocol %s, chosen by seed %d:", args.protocol, args.seed)
    for name, utts in splits.items():
        sexes = {utt.speaker: utt.sex for utt in utts}
        counts = {word: list(sexes.values()).count(sex) for word, sex in SEXES.items()}
        known = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        known = f" ({known})" if counts["unknown"] < len(sexes) else ""
        speakers = sorted(sexes)
        names = " ".join(speakers if len(speakers) <= NAMED else [*speakers[:2], "...", speakers[-1]])
        log.info("%s: %d utterances of %d speakers%s: %s", name, len(utts), len(sexes), known, names)


def _row(utt: Utterance) -> dict:
    """All of an utterance, without the part that a whole file has not: tables of such files keep their markers."""
    return {name: value for name, value in vars(utt).items() if name != "part" or value}


if __name__ == "__main__":
    sys.exit(main())
