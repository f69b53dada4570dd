"""Stage 3, extract: the sound of every utterance and its mel magnitudes, as long as its pictures.

Reads  DIR/data/<split>/ (stage 1) and the number of pictures from DIR/dump/video/<split>/ (stage 2).
Writes DIR/dump/audio/<split>/wave/        (640 T,) float32, 16 kHz mono, no DC; T pictures at 25 a second
                               mel_slaney/  (4 T, 80) float32, linear magnitude, Slaney's scale and area
                               mel_htk/     (4 T, 80) float32, linear magnitude, HTK's scale
                               info.jsonl   samples padded (+) or cut (-), share of clipped samples, source rate
The sound is cut or zero-padded at its end; an utterance more than 0.2 s apart, silent or without sound
goes to failed.tsv.
"""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avsr.errors import AvsrError, UtteranceError
from avsr.features.frames import fit_length
from avsr.features.mel import mel
from avsr.stages.common import Stage, parser, run
from avsr.storage.arrays import Store
from avsr.storage.datadir import Utterance, read_splits
from avsr.storage.markers import fingerprint

log = logging.getLogger("avsr")
CROP_STORES = ("crop80", "crop112", "landmarks")  # any of them says how many pictures there are
CLIPPED = 0.001  # share of samples at full scale above which the log says so


@dataclass(frozen=True)
class ExtractConf:
    """The section `extract` of a recipe's configuration."""

    # wave is what all others are computed from, in training and in scoring; the mels are there to look at.
    stores: tuple[Literal["wave", "mel_slaney", "mel_htk"], ...] = ("wave", "mel_slaney", "mel_htk")


def _body(args: Any, stage: Stage) -> None:
    conf = stage.conf(ExtractConf)
    for data, utterances in read_splits(args.data).items():
        _split(stage, conf, data, utterances, args.video / data.name, args.out / data.name)


def _split(
    stage: Stage, conf: ExtractConf, data: Path, utterances: dict[str, Utterance], video: Path, out: Path
) -> None:
    pictures = _pictures(video)
    known = [utt for utt in utterances if utt in pictures]
    if not known:
        raise AvsrError(f"{video}: holds none of the utterances of {data}; run stage 2 (crop) on them")
    if len(known) < len(utterances):
        missing = len(utterances) - len(known)
        log.info("%d of %d utterances have no pictures (see failed.tsv of stage 2)", missing, len(utterances))
    item_keys = {
        utt: [pictures[utt], fingerprint([utterances[utt].sound]), *(utterances[utt].part or ())] for utt in known
    }
    stores = {name: {"rate": 16000} if name == "wave" else {"mel_set": name} for name in conf.stores}
    chosen = {utt: utterances[utt] for utt in known}
    stage.process(known, _worker, (chosen, pictures, conf.stores), out, stores, "extract 1", item_keys)
    _say_clipped(out)


def _pictures(video: Path) -> dict[str, int]:
    """Utterance -> number of pictures T."""
    folders = [video / name for name in CROP_STORES if (video / name / "store.json").exists()]
    store = Store(folders[0] if folders else video / CROP_STORES[0], "stage 2 (crop)")
    return {utt: store.shape(utt)[0] for utt in store.keys()}


def _worker(
    utterances: dict[str, Utterance], pictures: dict[str, int], stores: Sequence[str]
) -> Callable[[str], dict[str, Any]]:
    from avsr.media.audio import read_sound

    def work(utt: str) -> dict[str, Any]:
        path = utterances[utt].sound
        wave_n, sound = read_sound(path, part=utterances[utt].pictures)
        try:
            fitted_n = fit_length(wave_n, pictures[utt])
        except UtteranceError as error:
            raise UtteranceError(f"{path}: {error}") from None
        info = {
            "padded": len(fitted_n) - len(wave_n),
            "clipped": round(sound.clipped, 5),
            "rate": sound.rate,
            "channels": sound.channels,
        }
        return {**{name: fitted_n if name == "wave" else mel(fitted_n, name) for name in stores}, "info": info}

    return work


def _say_clipped(out: Path) -> None:
    info = out / "info.jsonl"
    if not info.exists():
        return
    rows = [json.loads(line) for line in info.read_text(encoding="utf-8").splitlines()]
    clipped = sum(row["clipped"] > CLIPPED for row in rows)
    if clipped:
        log.info("%d of %d recordings are clipped (over %g %% of samples at full scale); used as they are: see %s",
                 clipped, len(rows), 100 * CLIPPED, info)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    made = parser("extract", __doc__)
    made.add_argument("--data", type=Path, nargs="+", required=True, help="splits, DIR/data/<split> ...")
    made.add_argument("--video", type=Path, required=True, help="their pictures, DIR/dump/video")
    made.add_argument("--out", type=Path, required=True, help="DIR/dump/audio")
    return run(made, _body, argv)


if __name__ == "__main__":
    sys.exit(main())
