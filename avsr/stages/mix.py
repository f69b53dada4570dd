"""Stage 4, mix: noise for all, and the noise lists of validation and test.

Reads  DIR/data/<split>/, DIR/dump/audio/<split>/wave/, DIR/data/others/ (the corpus's other speakers, where stage 1
       has listed them) and the folders of noises and of other talkers
       (noises: <type>/*.wav, any rate; talkers: *.wav in any folders). Without --noise-dir, eight types of
       noise are generated ("synthetic noise").
Writes DIR/data/noise_splits.json         which recording and talker belongs to which split
       DIR/dump/noise/                    the recordings, 16 kHz; DIR/dump/failed.tsv: clips of data/others left out
       DIR/dump/babble/<split>/           babble tracks
       DIR/dump/noise_lists/<split>/      what was drawn, before it is sorted into lists
       DIR/data/valid_noisy/*.jsonl       train_like, babble (SNRs as in training), clean
       DIR/data/test_noisy/*.jsonl        one list a condition: natural_-5dB, speech_0dB, babble_10dB, clean ...
       DIR/data/heldout_noisy/*.jsonl     babble_-5dB, babble_0dB, babble_5dB, where stage 1 has held out windows
Training draws its mixtures itself, anew in every epoch.
"""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avsr.errors import AvsrError, UsageError
from avsr.noise.babble import BabbleConf, Track, make_groups, make_track, plan_tracks, track_samples
from avsr.noise.library import (
    SPLITS,
    TALKERS,
    Recording,
    corpus_talkers,
    describe,
    find_noises,
    find_talkers,
    read_recording,
    split_by_source,
)
from avsr.noise.lists import Condition, NoiseConf, Row, draw_mixed_row, draw_row, write_list
from avsr.noise.sources import NoiseSources
from avsr.noise.synthetic import find_synthetic, make_recording
from avsr.scoring.tables import SNRS_ENERGY
from avsr.stages.common import Stage, parser, run
from avsr.storage.arrays import Store, finish_store
from avsr.storage.atomic import write_json
from avsr.storage.datadir import HELDOUT, read_datadir, read_splits, recording
from avsr.storage.markers import fingerprint

log = logging.getLogger("avsr")


@dataclass(frozen=True)
class MixConf:
    """The section `mix` of a recipe's configuration."""

    test_snrs_enhance: tuple[float, ...] = (0.0, -5.0)  # dB (MHCA-AVCRN Table 1)
    test_kinds_enhance: tuple[Literal["natural", "speech", "own"], ...] = ("natural", "speech", "own")
    test_snrs_recognise: tuple[Literal["clean"] | float, ...] = ("clean", 10.0, 5.0, 0.0, -5.0, -10.0)  # babble
    valid: NoiseConf = field(default_factory=NoiseConf)  # of the list train_like: as in training
    valid_babble_snr: tuple[float, float] = (-10.0, 10.0)  # dB, of the list babble
    babble: BabbleConf = field(default_factory=BabbleConf)
    valid_share: float = 0.1  # of the sources of a noise type, and of the talkers; one at least
    test_share: float = 0.2
    min_sources: int = 3  # noise types with fewer sources are heard in evaluation only

    def test_conditions(self) -> list[Condition]:
        """All test lists, each once."""
        made = [Condition(kind, snr) for kind in self.test_kinds_enhance for snr in self.test_snrs_enhance]
        made += [Condition("babble", None if snr == "clean" else snr) for snr in self.test_snrs_recognise]
        return list({condition.name: condition for condition in made}.values())

    def valid_lists(self) -> dict[str, NoiseConf]:
        """The validation lists with drawn kinds and SNRs."""
        babble = NoiseConf(p_noise=1.0, snr=self.valid_babble_snr, natural=0.0, babble=1.0, p_speech=0.0)
        return {"train_like": self.valid, "babble": babble}


def _body(args: Any, stage: Stage) -> None:
    conf = stage.conf(MixConf)
    work_dir = _work_dir(args)
    splits = [split for split in (*SPLITS, HELDOUT) if (args.data / split).is_dir()]
    if not splits:
        raise AvsrError(f"{args.data}: no split in it ({', '.join(SPLITS)}); stage 1 (prepare) makes them")
    read_splits(args.data / split for split in splits)  # before any work: what earlier stages must have made
    for split in splits:
        Store(args.audio / split / "wave", "stage 3 (extract)")
    recordings = _library(args, conf)
    if not _noise_store(args, stage, recordings):
        return _unfinished(args)
    store = Store(args.out / "noise")
    recordings = [recording for recording in recordings if recording.key in store]  # without the damaged clips
    _write_splits(args, recordings)
    for split in splits:
        others = [r.key for r in recordings if r.type == TALKERS and r.split == split]
        if not _babble(args, stage, conf, split, others):
            return _unfinished(args)
    for split in splits:
        if split != "train":
            _lists(args, stage, conf, work_dir, split)


def _work_dir(args: Any) -> Path:
    work_dir = args.out.resolve().parent
    if args.data.resolve() != work_dir / "data" or args.audio.resolve() != args.out.resolve() / "audio":
        raise UsageError("--data, --audio and --out must be DIR/data, DIR/dump/audio and DIR/dump of one work folder")
    return work_dir


def _unfinished(args: Any) -> None:
    log.info("part %d of %d done; when all parts are, run stage 4 again without --shard to go on", *args.shard)


def _complete(folder: Path, keys: Sequence[str]) -> bool:
    return (folder / "store.json").exists() and Store(folder).keys() == sorted(keys)


def _library(args: Any, conf: MixConf) -> list[Recording]:
    """All recordings with their splits; printed."""
    noises = find_noises(args.noise_dir) if args.noise_dir else find_synthetic()
    others = corpus_talkers(args.data / "others")
    talkers = others + (find_talkers(args.speech_dir) if args.speech_dir else [])
    recordings = split_by_source(noises, args.seed, conf.valid_share, conf.test_share, conf.min_sources)
    recordings += split_by_source(talkers, args.seed, conf.valid_share, conf.test_share, conf.min_sources)
    if not any(r.split == "train" for r in recordings if r.type != TALKERS):
        raise AvsrError(
            f"{args.noise_dir}: no noise type has {conf.min_sources} sources, so none is left for training; add some"
        )
    origin = _origin(args)
    log.info("noise: %s", origin if args.noise_dir else "synthetic (generated; --noise-dir gives real recordings)")
    if others:
        log.info("talkers from the corpus: %s", " ".join(sorted({recording.source for recording in others})))
    for line in describe(recordings):
        log.info("  %s", line)
    return recordings


def _origin(args: Any) -> str:
    return str(args.noise_dir.absolute()) if args.noise_dir else "synthetic"


def _write_splits(args: Any, recordings: list[Recording]) -> None:
    """noise_splits.json: what is in the store, and for whom."""
    rows = {r.key: {"type": r.type, "source": r.source, "split": r.split, "path": r.path} for r in recordings}
    write_json(args.data / "noise_splits.json", {"seed": args.seed, "noise": _origin(args), "recordings": rows})


def _noise_store(args: Any, stage: Stage, recordings: list[Recording]) -> bool:
    """The store of all recordings; False while other parts of --shard are missing."""
    prints = {r.key: fingerprint([Path(r.path)]) if r.path else "synthetic 1" for r in recordings}
    pieces = {r.key: (r.path, r.piece, r.pieces) for r in recordings}
    item_keys = {key: [prints[key], *pieces[key]] for key in prints}
    meta = {"noise": "recordings" if args.noise_dir else "synthetic"}
    keys = [r.key for r in recordings]
    return stage.process(keys, _noise_worker, (recordings,), args.out, {"noise": meta}, "noise 1", item_keys)


def _noise_worker(recordings: list[Recording]) -> Callable[[str], dict[str, np.ndarray]]:
    by_key = {recording.key: recording for recording in recordings}

    def work(key: str) -> dict[str, np.ndarray]:
        recording = by_key[key]
        return {"noise": read_recording(recording) if recording.path else make_recording(recording)}

    return work


def _babble(args: Any, stage: Stage, conf: MixConf, split: str, others: list[str]) -> bool:
    """The babble tracks of a split; False while other parts of --shard are missing."""
    wave = Store(args.audio / split / "wave")
    speaker_of = {utt: row.speaker for utt, row in read_datadir(args.data / split).items() if utt in wave}
    groups = make_groups(speaker_of, conf.babble.groups, args.seed)
    tracks = plan_tracks(speaker_of, others, groups, conf.babble, args.seed, split)
    lent = None if tracks or split != "valid" else _lent_by_training(args, set(speaker_of.values()))
    if lent:
        tracks = plan_tracks(speaker_of, lent[1], groups, conf.babble, args.seed, split)
        tracks = [replace(t, voices=tuple(replace(v, store="train") for v in t.voices)) for t in tracks]
        log.info("babble of valid: nobody else to be heard there, so it is clips of train (--speech-dir adds talkers)")
    meta = {"groups": groups, "tracks": [asdict(track) for track in tracks]}
    out = args.out / "babble"
    if not tracks:
        log.info("babble of %s: none (it needs utterances of others: a second speaker, clip or --speech-dir)", split)
        finish_store(out / split, args.storage, {}, meta)
        return True
    voices = sorted({len(track.voices) for track in tracks})
    few = "" if voices[0] == conf.babble.voices else f" (not {conf.babble.voices}: the split has no more)"
    log.info("babble of %s: %d tracks of %g s, %s voices%s, none with the target's own %s",
             split, len(tracks), conf.babble.seconds, "-".join(map(str, voices)), few, groups["by"])  # fmt: skip
    samples = track_samples(conf.babble)
    key = ["babble 1", wave.digest, Store(args.out / "noise").digest, samples, meta, *(lent[:1] if lent else [])]
    worker_args = (args.out, args.audio, split, tracks, samples)
    stage.process([t.key for t in tracks], _babble_worker, worker_args, out, {split: meta}, key)
    return _complete(out / split, [track.key for track in tracks])


def _lent_by_training(args: Any, speakers: set[str]) -> tuple[str, list[str]] | None:
    """Where a validation split has one clip and no other talker, recognisers are still to be selected by babble:
    digest and ids of the training clips for it, of other speakers where there are any. None without training."""
    if not (args.data / "train").is_dir():
        return None
    wave = Store(args.audio / "train" / "wave")
    rows = [row for utt, row in read_datadir(args.data / "train").items() if utt in wave]
    return wave.digest, [row.id for row in rows if row.speaker not in speakers] or [row.id for row in rows]


def _babble_worker(out: Path, audio: Path, split: str, tracks: list[Track], samples: int) -> Callable[[str], dict]:
    by_key = {track.key: track for track in tracks}
    places = {"wave": audio / split / "wave", "noise": out / "noise", "train": audio / "train" / "wave"}
    stores = {name: Store(places[name]) for name in {voice.store for track in tracks for voice in track.voices}}

    def work(key: str) -> dict[str, np.ndarray]:
        return {split: make_track(by_key[key], lambda store, utt: stores[store].read(utt), samples)}

    return work


def _lists(args: Any, stage: Stage, conf: MixConf, work_dir: Path, split: str) -> None:
    sources = NoiseSources(work_dir, split)
    out, draws = args.data / f"{split}_noisy", args.out / "noise_lists" / split
    conditions = _conditions(conf, split)
    names = [*conf.valid_lists(), "clean"] if conditions is None else [condition.name for condition in conditions]
    who = [sources.speaker_of, {**sources.sex_of_other, **sources.sex_of}]
    key = ["lists 3", [store.digest for store in sources.stores.values()], conf, args.seed, who]
    if any(recording(utt) != utt for utt in sources.utterances):
        key.append("views 1")
    worker_args = (work_dir, split, conf, args.seed)
    stage.process(sources.utterances, _list_worker, worker_args, draws, {}, key)
    info = draws / "info.jsonl"
    drawn = [json.loads(line) for line in info.read_text(encoding="utf-8").splitlines()] if info.exists() else []
    if [row["utt"] for row in drawn] != sources.utterances:
        return _unfinished(args)
    written = set()
    for name in names:
        rows = [Row(**row["rows"][name]) for row in drawn if row["rows"][name]]
        if rows:
            write_list(out / f"{name}.jsonl", rows)
            written.add(f"{name}.jsonl")
        if len(rows) < len(drawn):
            left = "no list" if not rows else f"{len(rows)} of {len(drawn)} utterances"
            log.info("%s of %s: %s (nobody else to be heard there; --speech-dir adds talkers)", name, split, left)
    for path in set(out.glob("*.jsonl")) - {out / name for name in written}:
        path.unlink()  # of another configuration; stage 9 scores every list that is there
    log.info("%s: %d lists of %d utterances", out, len(written), len(drawn))


def _conditions(conf: MixConf, split: str) -> list[Condition] | None:
    """One for each list of a split that is tested; None for validation, whose lists have drawn ones."""
    if split == HELDOUT:
        return [Condition("babble", float(snr)) for snr in SNRS_ENERGY]
    return conf.test_conditions() if split == "test" else None


def _list_worker(work_dir: Path, split: str, conf: MixConf, seed: int) -> Callable[[str], dict]:
    sources, conditions = NoiseSources(work_dir, split), _conditions(conf, split)

    def work(utt: str) -> dict[str, Any]:
        if conditions is not None:
            rows = {c.name: draw_row(sources, utt, c, seed) for c in conditions}
        else:
            rows = {name: draw_mixed_row(sources, utt, noise, seed, name) for name, noise in conf.valid_lists().items()}
            rows["clean"] = draw_row(sources, utt, Condition("clean"), seed)
        return {"info": {"rows": {name: row and asdict(row) for name, row in rows.items()}}}

    return work


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    made = parser("mix", __doc__)
    made.add_argument("--data", type=Path, required=True, help="DIR/data, with the splits of stage 1")
    made.add_argument("--audio", type=Path, required=True, help="DIR/dump/audio, made by stage 3")
    made.add_argument("--noise-dir", type=Path, help="folder of noises, <type>/*.wav; none: generated noise")
    made.add_argument("--speech-dir", type=Path, help="folder of other talkers' speech, *.wav at any depth")
    made.add_argument("--out", type=Path, required=True, help="DIR/dump")
    return run(made, _body, argv)


if __name__ == "__main__":
    sys.exit(main())
