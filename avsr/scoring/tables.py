"""Tables in markdown: systems in rows, conditions in columns, intervals in cells, published numbers in own columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from types import MappingProxyType

from avsr.errors import UsageError
from avsr.features.mel import AVSE_SETS
from avsr.scoring.checks import NOT_MEASURED, VERDICTS, Verdict
from avsr.scoring.metrics import METRICS, metric
from avsr.scoring.published import PublishedNumbers
from avsr.scoring.results import Difference, Results, Summary

DASH = "–"
SNRS_ENHANCEMENT = (-5, 0)
SNRS_RECOGNITION = (10, 5, 0, -5, -10)
SNRS_ENERGY = (-5, 0, 5)
INPUTS = ("A", "V", "AV", "VA", "VAV")  # of recognisers, in the order of AE-MSR Tables 2 and 3
ORACLES = {
    "oracle_mask": "Best mask of 0 to 1",
    "oracle": "Oracle (true mel magnitude, mixture phase)",
}


@dataclass(frozen=True)
class System:
    """A row: id as in `--systems`, the printed name, and what it does (lipread, enhance, recognise or joint).

    Of a recogniser also: `inputs`, one of INPUTS; `heard`, the row whose energy error is that of the sound which it
    gets (unprocessed, an enhancer, or empty: no sound); `ours`, that the paper has no such row.

    Of an enhancement system also: `head` (mask, direct, residual, complex mask; empty: no network), `loudest`, the
    largest value of its mask, `makes_wave`, that its estimate is a waveform, and `all_noises`, of a sub-network of
    AE-MSR: that it was trained as those of MHCA-AVCRN are, on natural noise and talkers, not on babble.
    """

    id: str
    name: str
    kind: str
    mel_set: str = "mel_slaney"
    inputs: str = ""
    heard: str = ""
    ours: bool = False
    head: str = ""
    loudest: float = 1.0
    makes_wave: bool = False
    all_noises: bool = False

    @property
    def enhances(self) -> bool:
        """Whether it stands in the tables of enhancement, with those of MHCA-AVCRN."""
        return self.kind == "enhance" and (self.mel_set in AVSE_SETS or self.all_noises)


@dataclass(frozen=True)
class Column:
    """A measured column: its heading, the test set and the metric."""

    heading: str
    test_set: str
    metric: str


@dataclass
class Table:
    """A table as text; `notes` stand below it."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    words: bool = False  # the columns hold words, not numbers

    def markdown(self) -> str:
        """The table under a heading of the third level. Without rows only its notes are printed."""
        parts = [f"### {self.title}", ""]
        if self.rows:
            parts += [_line(self.header), "|---" + ("|---" if self.words else "|--:") * (len(self.header) - 1) + "|"]
            parts += [_line(row) for row in self.rows] + [""]
        return "\n".join(parts + [line for note in self.notes for line in (note, "")])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def noise_columns(kinds: Sequence[str], snrs: Sequence[int], metrics: Sequence[str]) -> list[Column]:
    """A column for each metric, SNR and kind of interference, in the order of the MHCA-AVCRN tables."""
    several = len(metrics) > 1
    return [Column(f"{metric(name).name if several else ''} {snr} dB {kind.capitalize()}".strip(), f"{kind}_{snr}dB",
                   name) for name in metrics for snr in snrs for kind in kinds]


def babble_columns(snrs: Sequence[int], name: str, clean: bool) -> list[Column]:
    """Clean speech (where asked) and one column for each SNR of babble (AE-MSR Tables 2 to 4)."""
    first = [Column("clean", "clean", name)] if clean else []
    return first + [Column(f"{snr} dB", f"babble_{snr}dB", name) for snr in snrs]


def set_name(test_set: str) -> str:
    """A test set as printed: `speech_-5dB` is speech -5 dB."""
    return test_set.replace("_", " ").replace("dB", " dB")


def number(summary: Summary | None) -> str:
    """A cell: value, spread over seeds, 95 % interval, and `(scored/total)` where something was not scored."""
    if summary is None:
        return DASH
    if isnan(summary.value):
        return summary.note or DASH
    decimals = metric(summary.metric).decimals
    text = f"{summary.value:.{decimals}f}"
    if not isnan(summary.sd):
        text += f" ± {summary.sd:.{decimals}f}"
    if not isnan(summary.low):
        text += f" [{summary.low:.{decimals}f}, {summary.high:.{decimals}f}]"
    return text + (f" ({summary.scored}/{summary.total})" if summary.scored < summary.total else "")


def signed(difference: Difference | None, decimals: int) -> str:
    """A cell: a difference with its sign and its paired 95 % interval; of a single utterance without one."""
    if difference is None:
        return DASH
    text = f"{difference.value:+.{decimals}f}"
    if isnan(difference.low):
        return text
    return f"{text} [{difference.low:+.{decimals}f}, {difference.high:+.{decimals}f}]"


def order(results: Results, systems: Sequence[System]) -> list[System]:
    """The rows in the order given, with what was measured beside: unprocessed first, then after each system its
    variants `<id>+<variant>` and rescored checkpoints `<id>@<digest>`, at the end oracles and systems not in the list.
    """
    measured = results.systems()
    rows = [System("unprocessed", "Unprocessed", "unprocessed")]
    for system in systems:
        rows.append(system)
        for other in sorted(measured):
            variant = variant_name(other, system)
            if variant:
                rows.append(replace(system, id=other, name=variant))
    rows += [System(oracle, name, "oracle") for oracle, name in ORACLES.items() if oracle in measured]
    known = {row.id for row in rows}
    return rows + [System(other, f"`{other}`", "other") for other in sorted(measured - known)]


def by_inputs(rows: Iterable[System]) -> list[System]:
    """Rows by their inputs: sound, lips, both, as AE-MSR Tables 2 and 3 have them; within one in the order given."""
    rank = {inputs: place for place, inputs in enumerate(INPUTS)}
    return sorted(rows, key=lambda row: rank.get(row.inputs, len(rank)))


def variant_name(other: str, system: System) -> str:
    """The printed name of `<id>+shuffled`, `<id>@<digest>` and the like, or an empty text for another system."""
    for sign, form in (("+shuffled", "{}, shuffled video"), ("+", "{}, {}"), ("@", "{} (checkpoint {})")):
        if other.startswith(system.id + sign):
            return form.format(system.name, other[len(system.id) + len(sign):])
    return ""


def score_table(title: str, results: Results, rows: Sequence[System], columns: Sequence[Column],
                expected: Callable[[System], bool], published: PublishedNumbers | None = None) -> Table:
    """One table of measured values, and where the papers print numbers for its rows a `paper:` column for each.

    A row stands in it when it is `expected` there or was measured there. With several seeds the row is their mean, and
    each seed follows by itself. Rows that were not run are named below.
    """
    def of(row: System, column: Column, seed: int | None = None) -> Summary | None:
        return results.summary(row.id, column.test_set, column.metric, seed)

    rows = [row for row in rows if expected(row) or any(of(row, column) for column in columns)]
    printed = [column for column in columns if published
               and any(published.cell(row.id, column.test_set, column.metric) for row in rows)]
    lines, missing = [], []
    for row in rows:
        cells = [number(of(row, column)) for column in columns]
        if all(of(row, column) is None for column in columns):
            missing.append(row.name)
        paper = [published.cell(row.id, column.test_set, column.metric) or DASH for column in printed]
        lines.append([row.name, *cells, *paper])
        seeds = sorted({seed for column in columns for seed in results.seeds(row.id, column.test_set)
                        if of(row, column, seed)})
        for seed in seeds if len(seeds) > 1 else ():
            cells = [number(of(row, column, seed)) for column in columns]
            lines.append([f"– seed {seed}", *cells, *([""] * len(printed))])
    if lines and len(missing) == len(lines):
        return Table(title, [], [], [f"Not run: {', '.join(missing)}."])
    header = ["System", *(column.heading for column in columns), *(f"paper: {column.heading}" for column in printed)]
    notes = published.otherwise(row.id for row in rows if row.name not in missing) if published and printed else []
    return Table(title, header, lines, notes + ([f"Not run: {', '.join(missing)}."] if missing else []))


def check_table(title: str, verdicts: Sequence[Verdict], names: dict[str, str]) -> Table:
    """Every rule with its two values, their paired difference with its interval, and the verdict."""
    rows = []
    for one in verdicts:
        decimals = metric(one.rule.left[2]).decimals
        right = f"{one.right:g}" if isinstance(one.right, float) else number(one.right)
        right = right if one.rule.times == 1 else f"{one.rule.times:g} × {right}"
        asked = f"{one.rule.compare} {one.rule.margin:g}"
        if one.verdict == NOT_MEASURED:
            missing = "; ".join(f"{names.get(system, system)} on {test_set}" for system, test_set in one.missing)
            verdict = f"{NOT_MEASURED} ({missing or 'no utterance in common'})"
            rows.append([one.rule.text, number(one.left), right, DASH, asked, verdict, DASH])
            continue
        difference = signed(one.difference, decimals)
        rows.append([one.rule.text, number(one.left), right, difference, asked, f"**{one.verdict}**",
                     "yes" if one.clear else "no"])
    counts = ", ".join(f"{sum(one.verdict == verdict for one in verdicts)} {verdict}" for verdict in VERDICTS)
    notes = [f"{counts}. The verdict follows from the "
             "measured difference alone; the last column says whether its 95 % interval (paired bootstrap over "
             "utterances) lies wholly on one side of what is asked."]
    header = ["Check", "left", "right", "left - right", "asked", "verdict", "interval clear"]
    return Table(title, header, rows, notes, words=True)


def provenance_table(
    title: str, results: Results, names: Mapping[str, str], formats: Mapping[str, str] = MappingProxyType({})
) -> Table:
    """For every row system, seed and test sets: utterances scored of total, checkpoint, number format, command, commit.

    `names` holds the printed name of every system, in the order of the rows; `formats` the number format and layout
    that the training of a checkpoint, as provenances name it, was computed in.
    """
    groups: dict[tuple, list[str]] = {}
    rank = {system: place for place, system in enumerate(names)}
    for (system, test_set), by_seed in sorted(results.scores.items(), key=lambda item: rank[item[0][0]]):
        for seed, scores in by_seed.items():
            origin = scores.provenance
            checkpoint = f"`{origin.checkpoint}` {origin.checkpoint_digest}".strip() if origin.checkpoint else DASH
            key = (names.get(system, system), str(seed), _counts(results, system, test_set, seed), checkpoint,
                   formats.get(origin.checkpoint, DASH), origin.decode or DASH, f"`{origin.commit}`",
                   f"`{origin.command}`")
            groups.setdefault(key, []).append(test_set)
    rows = [[key[0], key[1], ", ".join(sets), *key[2:]] for key, sets in groups.items()]
    header = ["System", "seed", "test sets", "scored of total", "checkpoint", "trained in", "decoding", "commit",
              "command"]
    return Table(title, header, rows, words=True)


def _counts(results: Results, system: str, test_set: str, seed: int) -> str:
    """`98/100`, or with metrics that were scored on different utterances `98/100, PESQ 96/100`."""
    found = [one for one in (results.summary(system, test_set, name, seed) for name in METRICS) if one]
    if not found:
        raise UsageError(f"scores of {system} on {test_set} hold no known metric; delete them and run stage 9 again")
    usual = max(one.scored for one in found)
    text = [f"{usual}/{found[0].total}"]
    return ", ".join(text + [f"{metric(one.metric).name} {one.scored}/{one.total}" for one in found
                             if one.scored != usual])
