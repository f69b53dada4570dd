"""Noise lists: what is mixed into each utterance of a test set, written once and read by all systems.

A list is a file of JSON lines, one an utterance: `{"utt", "kind", "store", "noise", "offset", "snr", "gain"}`.
Nothing is drawn when a list is used: the mixture is speech + gain * (noise from offset on), at the common
level. Clean speech is the kind "clean" with gain 0.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from avsr.errors import AvsrError
from avsr.noise.mixing import snr_gain
from avsr.noise.sources import KINDS, MIX_STAGE, Cut, NoiseSources
from avsr.rng import rng
from avsr.storage.atomic import write_text

CLEAN = "clean"


@dataclass(frozen=True)
class Row:
    """One mixture. `snr` in dB is for the reader; `gain` is what the noise is multiplied with."""

    utt: str
    kind: str
    store: str = ""
    noise: str = ""
    offset: int = 0
    snr: float | None = None
    gain: float = 0.0


@dataclass(frozen=True)
class Condition:
    """A test condition, say competing talker at -5 dB. `snr` is None for clean speech."""

    kind: str
    snr: float | None = None

    @property
    def name(self) -> str:
        """The name of its list: `speech_-5dB`, `clean`."""
        return CLEAN if self.snr is None else f"{self.kind}_{self.snr:g}dB"


@dataclass(frozen=True)
class NoiseConf:
    """What is mixed into training utterances; fresh in every epoch."""

    p_noise: float = 1.0  # share of noisy utterances; AE-MSR section 5.1: 0.25 for recognisers
    snr: tuple[float, float] = (-10.0, 10.0)  # dB, uniform (both papers)
    natural: float = 1.0  # weight of noise recordings
    babble: float = 0.0  # weight of babble; AE-MSR: babble alone
    # Share of talkers: another talker, or another utterance of the same one. 0 is the paper's literal
    # text (MHCA-AVCRN section 4.1); decision: see docs/decisions.md.
    p_speech: float = 0.3
    p_own: float = 0.5  # share of another utterance of the same talker among those of talkers

    def __post_init__(self):
        if not all(0 <= share <= 1 for share in (self.p_noise, self.p_speech, self.p_own)):
            raise ValueError("p_noise, p_speech and p_own must lie between 0 and 1")
        if self.snr[0] > self.snr[1]:
            raise ValueError(f"snr must be [lowest, highest], not {list(self.snr)}")
        if min(self.natural, self.babble) < 0 or self.natural + self.babble + self.p_speech <= 0:
            raise ValueError("natural and babble must not be negative, and some kind of noise above 0")

    def weights(self) -> dict[str, float]:
        """Kind -> probability among noisy utterances."""
        rest = (1 - self.p_speech) / ((self.natural + self.babble) or 1.0)
        own = self.p_speech * self.p_own
        talker = self.p_speech - own
        return {"natural": rest * self.natural, "speech": talker, "own": own, "babble": rest * self.babble}


def draw_row(sources: NoiseSources, utt: str, condition: Condition, seed: int) -> Row | None:
    """The row of an utterance in the list of a condition; None when the split has no such noise for it."""
    if condition.snr is None:
        return Row(utt, CLEAN)
    if not sources.can(condition.kind, utt):
        return None
    wave_n = sources.wave(utt)
    draw = rng(seed, sources.split, utt, condition.name, "test noise")
    cut = sources.draw(condition.kind, utt, len(wave_n), draw, by_sex=True)  # MHCA-AVCRN's tests; see docs/decisions.md
    return _row(utt, condition.kind, cut, condition.snr, snr_gain(wave_n, cut.wave_n, condition.snr))


def draw_mixed_row(sources: NoiseSources, utt: str, conf: NoiseConf, seed: int, name: str) -> Row | None:
    """The row of an utterance in a list with kinds and SNRs as in training; None when no kind is there for it."""
    draw = rng(seed, sources.split, utt, name, "mixed list")
    if draw.random() >= conf.p_noise:
        return Row(utt, CLEAN)
    kind = draw_kind(sources, utt, conf, draw.random())
    if kind is None:
        return None
    snr = float(draw.uniform(*conf.snr))
    wave_n = sources.wave(utt)
    cut = sources.draw(kind, utt, len(wave_n), draw)
    return _row(utt, kind, cut, snr, snr_gain(wave_n, cut.wave_n, snr))


def draw_kind(sources: NoiseSources, utt: str, conf: NoiseConf, number: float) -> str | None:
    """The kind of noise that `number` in [0, 1) stands for, among those that are there for the utterance."""
    weights = {kind: weight for kind, weight in conf.weights().items() if weight > 0 and sources.can(kind, utt)}
    left = number * sum(weights.values())
    for kind in KINDS:
        if kind in weights:
            left -= weights[kind]
            if left < 0:
                return kind
    return next(reversed(weights), None)


def _row(utt: str, kind: str, cut: Cut, snr: float, gain: float) -> Row:
    return Row(utt, kind, cut.store, cut.key, cut.offset, snr, gain)


def write_list(path: Path, rows: Iterable[Row]) -> None:
    """Writes a list, sorted by utterance, whole or not at all."""
    lines = (json.dumps(asdict(row)) for row in sorted(rows, key=lambda row: row.utt))
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_list(path: Path) -> dict[str, Row]:
    """Utterance -> row, in the order of the file. AvsrError naming file, line and cure."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise AvsrError(f"{path} is missing: {MIX_STAGE} makes the noise lists; run that first") from None
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, 1):
        try:
            row = Row(**json.loads(line))
        except (ValueError, TypeError):
            fields = ", ".join(Row.__dataclass_fields__)
            raise AvsrError(f"{path} line {number}: is no noise-list row ({fields}); make the list again") from None
        if row.utt in rows:
            raise AvsrError(f"{path} line {number}: {row.utt} is doubled; each utterance stands once")
        rows[row.utt] = row
    return rows
