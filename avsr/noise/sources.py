"""What can be mixed into an utterance of a split, fetched from the stores: noises, talkers, own utterances, babble."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from avsr.errors import AvsrError
from avsr.noise.babble import groups_of
from avsr.noise.library import TALKERS, refuse_overlap
from avsr.noise.mixing import SILENCE, cut_noise, power
from avsr.storage.arrays import Store
from avsr.storage.datadir import read_datadir, read_table, recording

KINDS = ("natural", "speech", "own", "babble")
QUIET = 1e-3  # a cut 30 dB below its recording is a pause: another is drawn
MIX_STAGE = "stage 4 (mix)"
_TRIES = 50


@dataclass(frozen=True)
class Cut:
    """A stretch of noise: `store` is noise, wave or babble."""

    store: str
    key: str
    offset: int
    wave_n: np.ndarray


class NoiseSources:
    """The stores of one split. Cheap to make and to hand to other processes; holds no waves.

    AvsrError naming the stage to run when something of stages 1, 3 or 4 is not there, and where a source of noise
    stands in two splits.
    """

    def __init__(self, work_dir: Path, split: str):
        self.work_dir, self.split = Path(work_dir), split
        data = self.work_dir / "data" / split
        self.stores = {
            "wave": Store(self.work_dir / "dump" / "audio" / split / "wave", "stage 3 (extract)"),
            "noise": Store(self.work_dir / "dump" / "noise", MIX_STAGE),
            "babble": Store(self.work_dir / "dump" / "babble" / split, MIX_STAGE),
        }
        wave = self.stores["wave"]
        rows = {utt: row for utt, row in read_datadir(data).items() if utt in wave}
        self.speaker_of = {utt: row.speaker for utt, row in rows.items()}
        self.sex_of = {row.speaker: row.sex for row in rows.values() if row.sex}
        self.sex_of_other = read_table(self.work_dir / "data" / "others" / "spk2gender", required=False)
        self.utterances = sorted(self.speaker_of)
        self._babble_groups = groups_of(self.speaker_of, self.stores["babble"].meta["groups"])
        self._splits = self.work_dir / "data" / "noise_splits.json"
        if self._splits.exists():
            _ = self._library  # refused now, not amid a training

    @cached_property
    def _spoken(self) -> dict[str, list[str]]:
        """Speaker -> utterances."""
        spoken: dict[str, list[str]] = {}
        for utt in self.utterances:
            spoken.setdefault(self.speaker_of[utt], []).append(utt)
        return spoken

    @cached_property
    def _library(self) -> dict[str, dict[str, list[str]]]:
        """"natural": type -> keys; "speech": talker -> keys; of this split."""
        try:
            rows = json.loads(self._splits.read_text(encoding="utf-8"))["recordings"]
        except (FileNotFoundError, KeyError, ValueError):
            raise AvsrError(f"{self._splits} is missing or damaged: {MIX_STAGE} makes it; run that first") from None
        refuse_overlap(rows, self._splits)
        found: dict[str, dict[str, list[str]]] = {"natural": {}, "speech": {}}
        for key, row in sorted(rows.items()):
            if row["split"] == self.split:
                kind, name = ("speech", row["source"]) if row["type"] == TALKERS else ("natural", row["type"])
                found[kind].setdefault(name, []).append(key)
        return found

    @cached_property
    def _tracks(self) -> dict[int, list[str]]:
        """Babble group -> track keys."""
        tracks: dict[int, list[str]] = {}
        for track in self.stores["babble"].meta["tracks"]:
            tracks.setdefault(track["group"], []).append(track["key"])
        return tracks

    def wave(self, utt: str) -> np.ndarray:
        """The clean utterance (640 T,) float32."""
        return self.stores["wave"].read(utt)

    def can(self, kind: str, utt: str) -> bool:
        """Whether there is anything of this kind for this utterance."""
        if kind == "natural":
            return bool(self._library["natural"])
        if kind == "speech":
            return bool(self._library["speech"]) or len(self._spoken) > 1
        if kind == "own":
            return any(recording(other) != recording(utt) for other in self._spoken[self.speaker_of[utt]])
        return self._babble_groups[utt] in self._tracks

    def draw(self, kind: str, utt: str, samples: int, draw: np.random.Generator, by_sex: bool = False) -> Cut:
        """A random cut of this kind for an utterance, never one of silence.

        Types, talkers and tracks are equally likely, and so are the recordings of one. `by_sex`, of tests: the other
        talker is one of the split where it has any, and men and women are equally likely, however many there are of
        them (MHCA-AVCRN section 4.1: "unknown talker"). AvsrError when nothing loud enough is found.
        """
        for _ in range(_TRIES):
            store, key = self._pick(kind, utt, draw, by_sex)
            recording_n = self.stores[store].read(key)
            spare = len(recording_n) - samples
            offset = int(draw.integers(0, spare + 1 if spare >= 0 else len(recording_n)))
            wave_n = cut_noise(recording_n, offset, samples)
            if power(wave_n) > max(SILENCE, QUIET * power(recording_n)):
                return Cut(store, key, offset, wave_n)
        raise AvsrError(f"{utt}: {_TRIES} cuts of {kind} noise were all silent; take silent files out of --noise-dir")

    def _pick(self, kind: str, utt: str, draw: np.random.Generator, by_sex: bool) -> tuple[str, str]:
        speaker = self.speaker_of[utt]
        if kind == "natural":
            types = self._library["natural"]
            return "noise", _one_of(types[_one_of(sorted(types), draw)], draw)
        if kind == "own":
            return "wave", _one_of(self._own(utt), draw)
        if kind == "babble":
            return "babble", _one_of(self._tracks[self._babble_groups[utt]], draw)
        talkers = [("wave", name) for name in sorted(self._spoken) if name != speaker]
        if not (by_sex and talkers):
            talkers += [("noise", name) for name in sorted(self._library["speech"])]
        sexes = sorted({self._sex(talker) for talker in talkers})
        if by_sex and len(sexes) > 1:
            sex = _one_of(sexes, draw)
            talkers = [talker for talker in talkers if self._sex(talker) == sex]
        store, name = talkers[int(draw.integers(len(talkers)))]
        return store, _one_of(self._spoken[name] if store == "wave" else self._library["speech"][name], draw)

    def _own(self, utt: str) -> list[str]:
        """The other recordings of its speaker: not the utterance itself, nor what another camera saw of it."""
        mine = self._spoken[self.speaker_of[utt]]
        at = mine.index(utt)
        return [other for other in mine[at + 1 :] + mine[:at] if recording(other) != recording(utt)]

    def _sex(self, talker: tuple[str, str]) -> str:
        """m, f, or empty: nobody knows it, as of the talkers of --speech-dir; these are a group of their own."""
        store, name = talker
        return (self.sex_of if store == "wave" else self.sex_of_other).get(name, "")

    def check(self, store: str, key: str, where: str) -> None:
        """AvsrError, beginning with `where`, when what a noise list names is not there."""
        if store not in self.stores or key not in self.stores[store]:
            raise AvsrError(
                f"{where}: noise {key} is not in the store of {store} of {self.split}; run {MIX_STAGE} again, which "
                "makes lists and noise together"
            )

    def cut(self, store: str, key: str, offset: int, samples: int, where: str) -> np.ndarray:
        """The cut that a noise list names. AvsrError as `check`."""
        self.check(store, key, where)
        return cut_noise(self.stores[store].read(key), offset, samples)


def _one_of(items: list[str], draw: np.random.Generator) -> str:
    return items[int(draw.integers(len(items)))]
