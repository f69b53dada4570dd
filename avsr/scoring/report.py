"""RESULTS.md and results.csv of a run, and their publication into the folder of a recipe."""

import csv
import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from avsr.errors import AvsrError, UsageError
from avsr.features.mel import STFT
from avsr.scoring.checks import Rule, check
from avsr.scoring.claims import Claim, claim_table, judge
from avsr.scoring.compared import compared_table
from avsr.scoring.confusions import word_tables
from avsr.scoring.differences import difference_tables
from avsr.scoring.elsewhere import lip_reading_table
from avsr.scoring.examples import example_table
from avsr.scoring.heads import head_note
from avsr.scoring.published import PublishedNumbers, read_published
from avsr.scoring.results import Results
from avsr.scoring.seams import seam_table
from avsr.scoring.tables import (
    SNRS_ENERGY,
    SNRS_ENHANCEMENT,
    SNRS_RECOGNITION,
    Column,
    System,
    Table,
    babble_columns,
    by_inputs,
    check_table,
    noise_columns,
    order,
    provenance_table,
    score_table,
)
from avsr.storage.atomic import atomic_path, write_text
from avsr.storage.datadir import HELDOUT

OWN_NOTE = ("Interference is another utterance of the same talker: no voice can be known from its sound, so this is "
            "what shows that the lips are used.")

ENERGY_NOTE = "The paper does not say in which domain it measured."
HELDOUT_NOTE = ("Windows of 2 to 6 s of videos of pretrain that no training has seen; the paper averages over 10,000 "
                "clips, more than the test set holds.")
BINS_NOTE = "Over the STFT's 321 bins, not to be compared with errors over mel bands; `noisy`: of the mixture as it is."
MASK_NOTE = "The best mask, min(clean / noisy, 1) in every cell, has the least error that a mask of 0 to 1 can have."
PHONES_NOTE = ("Recognisers write phones here, and phones are counted; the papers' word error rates are not to be "
               "compared with these, and do not stand beside.")
# Metric -> title, by whether transcripts are phones. Of these the characters that spell them are nobody's measure.
RECOGNITION = {
    False: {"wer": "WER %, babble (AE-MSR Tables 2 and 3)", "cer": "CER %, babble",
            "keywords": "letters and digits right %, babble (of GRID's sentences)",
            "wer_greedy": "WER %, greedy search, babble"},
    True: {"wer": "phone error rate %, babble", "wer_greedy": "phone error rate %, greedy search, babble"},
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What one section of RESULTS.md is about: `systems` in the order of the papers' tables."""

    recipe: str
    protocol: str
    preset: str
    synthetic: bool
    systems: tuple[System, ...]
    rules: tuple[Rule, ...] = ()
    claims: tuple[Claim, ...] = ()
    recon: str = "gain"  # from magnitudes to waveforms, for all rows
    references: tuple[str, ...] = ()  # systems that the others are compared with, in tables of differences
    notes: tuple[str, ...] = ()  # paragraphs under the section's title, such as how babble was made
    phones: bool = False  # transcripts are phones: what the papers print of words does not stand beside

    def __post_init__(self) -> None:
        for name in (self.recipe, self.protocol, self.preset):
            if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
                raise UsageError(f"{name!r} must be made of letters, digits, dot, hyphen and underscore")

    @property
    def key(self) -> str:
        """The name of its section and of its folder of figures."""
        return f"{self.protocol}-{self.preset}"

    @property
    def mark(self) -> str:
        """What every title carries: the word synthetic where the corpus is made, else nothing."""
        return " (synthetic)" if self.synthetic else ""


def checkpoint_digest(path: Path) -> str:
    """Twelve hex digits of a checkpoint's content, as printed beside its name."""
    total = hashlib.blake2b(digest_size=6)
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def figure_folder(folder: Path, run: Run) -> Path:
    """Where the figures of a run belong, in a work folder or a recipe's folder."""
    return Path(folder) / "figures" / run.key


def write_report(
    work_dir: Path,
    run: Run,
    figures: Sequence[tuple[str, str]] = (),
    out: Path | None = None,
    results: Results | None = None,
    formats: Mapping[str, str] = MappingProxyType({}),
) -> Results:
    """Writes results.csv and the run's section of RESULTS.md into `out`, or into the work folder, from `results`, or
    from every scores.tsv under `work_dir`/exp.

    `figures` are (file name in figure_folder, caption), `formats` those of tables.provenance_table. Raises AvsrError
    when nothing was scored yet.
    """
    results = results or Results.read(Path(work_dir) / "exp", run.protocol, run.preset)
    if not results.scores:
        raise AvsrError(f"{work_dir}/exp: no scores of protocol {run.protocol}, preset {run.preset}; run stage 9")
    out = Path(out or work_dir)
    results.write_csv(out / "results.csv", run.recipe)
    more = tables_beside(Path(work_dir) / "exp", run, results)
    put_section(out / "RESULTS.md", run, section(run, results, figures, read_published(), more, formats))
    return results


def section(
    run: Run,
    results: Results,
    figures: Sequence[tuple[str, str]],
    published: PublishedNumbers,
    more: Sequence[Table] = (),
    formats: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The text of a run's section: tables, checks, figures, and where every row comes from.

    `more` are tables that need more than the scores; they stand behind those of the scores.
    """
    rows = order(results, run.systems)
    names = {row.id: row.name for row in rows}
    corpus = "generated, synthetic corpus: its numbers say nothing about real people. " if run.synthetic else ""
    seeds = sorted({seed for by_seed in results.scores.values() for seed in by_seed})
    parts = [
        f"## {run.recipe}: protocol {run.protocol}, preset {run.preset}{run.mark}", "",
        f"{corpus[:1].upper()}{corpus[1:]}Seeds: {', '.join(map(str, seeds))}. A cell holds the value [95 % interval, "
        f"bootstrap over utterances]; with several seeds mean ± standard deviation. {_where_from(published)} "
        "`–`: not run, or not printed in the paper.", "",
    ]
    parts += [line for note in run.notes for line in (note, "")]
    tables = [*score_tables(run, results, rows, published), *more]
    tables += difference_tables(run.mark, results, rows, run.references)
    if run.claims:
        claimed = claim_table(f"Claims{run.mark}", judge(results, run.claims), names)
        judged = {side[0] for claim in run.claims for rule in claim.rules for side in (rule.left, rule.right)}
        claimed.notes += published.otherwise(sorted(judged & results.systems()))
        tables.append(claimed)
    if run.rules:
        tables.append(check_table(f"Checks{run.mark}", check(results, run.rules), names))
    parts += [table.markdown() for table in tables]
    for name, caption in figures:
        parts += [f"![{caption}](figures/{run.key}/{name})", "", f"*{caption}{run.mark}*", ""]
    parts.append(provenance_table(f"Where every row comes from{run.mark}", results, names, formats).markdown())
    return "\n".join(parts).rstrip() + "\n"


def tables_beside(exp: Path, run: Run, results: Results) -> list[Table]:
    """Tables of what lies beside the scores: words of the best lip reader, transcripts of recognisers."""
    rows = order(results, run.systems)
    examples = example_table(exp, results, rows, run.mark, run.phones)
    return [*word_tables(exp, results, rows, run.mark, run.phones), *([examples] if examples else [])]


def _where_from(published: PublishedNumbers) -> str:
    corpora = "; ".join(f"{paper}: {corpus}" for paper, corpus in published.corpora.items())
    return f"Columns `paper:` hold printed numbers, from other data ({corpora}); they are no target for these."


def score_tables(run: Run, results: Results, rows: Sequence[System], published: PublishedNumbers) -> list[Table]:
    """Enhancement (the papers' conditions, then Own, then further measures), recognition, energy error, words."""
    def make(title: str, columns: list[Column], expected, note: str = "", paper: PublishedNumbers | None = published):
        ordered = by_inputs(rows) if expected is recognises else rows
        table = score_table(f"{title}{run.mark}", results, ordered, columns, expected, paper)
        shown = {line[0] for line in table.rows}
        others = [row.name for row in rows if row.mel_set == "mel_htk" and row.name in shown]
        if others and expected is enhances:
            names = ", ".join(others)
            table.notes.insert(0, f"With the mel set of AE-MSR (`mel_htk`), not that of the others: {names}.")
        ours = [row.name for row in ordered if row.ours and row.name in shown]
        if ours:
            table.notes.insert(0, f"Ours, in no table of the paper: {'; '.join(ours)}.")
        if table.rows and expected is enhances:
            table.notes.insert(0, head_note([row for row in rows if row.name in shown], run.recon))
        if note and table.rows:
            table.notes.insert(0, note)
        return table if table.rows or table.notes else None

    def enhances(row: System) -> bool:
        return row.enhances and not _variant(row)

    def cleans(row: System) -> bool:
        return row.kind == "enhance" and row.mel_set == "mel_htk" and not row.enhances and not _variant(row)

    def cleans_bins(row: System) -> bool:
        return row.kind == "enhance" and row.mel_set == STFT and not row.enhances and not _variant(row)

    def recognises(row: System) -> bool:
        return row.kind in ("recognise", "joint") and not _variant(row)

    paper_kinds = ("speech", "natural")
    paper, unit = (None, f" {PHONES_NOTE}") if run.phones else (published, "")
    tables = []
    for metric in ("stoi", "pesq_raw"):
        title = {"stoi": "Enhancement: STOI % (MHCA-AVCRN Tables 1 and 2)",
                 "pesq_raw": "Enhancement: PESQ (raw narrow-band P.862, -0.5 to 4.5; MHCA-AVCRN Tables 1 and 2)"}
        tables.append(make(title[metric], noise_columns(paper_kinds, SNRS_ENHANCEMENT, [metric]), enhances))
    tables.append(compared_table(run.mark, results, rows, published, run.recon))
    own = noise_columns(("own",), SNRS_ENHANCEMENT, ["stoi", "pesq_raw"])
    tables.append(make("Enhancement: own voice", own, enhances, OWN_NOTE))
    for metric, title in (("estoi", "ESTOI %"), ("si_sdr", "SI-SDR dB"), ("pesq_wb", "wide-band PESQ (P.862.2)")):
        columns = noise_columns((*paper_kinds, "own"), SNRS_ENHANCEMENT, [metric])
        tables.append(make(f"Enhancement: {title}", columns, enhances))
    tables.append(seam_table(run.mark, results, rows))
    for metric, title in RECOGNITION[run.phones].items():
        if metric == "keywords" and not any(results.measured(row.id, metric) for row in rows):
            continue
        tables.append(make(f"Recognition: {title}", babble_columns(SNRS_RECOGNITION, metric, True), recognises,
                           f"A row that sees no sound (V) has one value; it stands under `clean`.{unit}", paper))
    if not run.synthetic and not run.phones:
        tables.append(lip_reading_table(run.recipe, run.protocol, run.mark, results, rows))
    for title, columns, note in _energy_columns(results):
        expected = cleans_bins if note is BINS_NOTE else cleans
        tables.append(make(f"Energy error %, {title}", columns, expected, note))
        held_out = [replace(column, test_set=f"{HELDOUT}_{column.test_set}") for column in columns]
        if {column.test_set for column in held_out} & {test_set for _, test_set in results.scores}:
            tables.append(make(f"Energy error %, {title}, held-out windows", held_out, expected, HELDOUT_NOTE))
    words = [Column("top 1", "words", "top1"), Column("top 5", "words", "top5")]
    counted = "phone" if run.phones else "word"
    tables.append(make(f"Lip reading: {counted} accuracy %", words, lambda row: row.kind == "lipread", paper=paper))
    return [table for table in tables if table is not None]


def _energy_columns(results: Results) -> list[tuple[str, list[Column], str]]:
    """Title, columns and note of each table of energy errors on the test set."""
    note = f"{ENERGY_NOTE} {MASK_NOTE}" if "oracle_mask" in results.systems() else ENERGY_NOTE
    bins = [Column(f"{snr} dB{noisy.replace('_', ' ')}", f"babble_{snr}dB", f"energy_stft{noisy}")
            for snr in SNRS_ENERGY for noisy in ("", "_noisy")]
    return [
        ("magnitudes, babble (AE-MSR Table 4)", babble_columns(SNRS_ENERGY, "energy_linear", False), note),
        ("square roots of magnitudes, babble", babble_columns(SNRS_ENERGY, "energy_sqrt", False), note),
        ("bins of the STFT, babble", bins, BINS_NOTE),
    ]


def _variant(row: System) -> bool:
    """Shuffled video and rescored checkpoints stand only in tables in which they were measured."""
    return "+" in row.id or "@" in row.id


def wer_curves(results: Results, rows: Mapping[str, str], metric: str = "wer") -> tuple[dict, dict]:
    """For figures.error_against_snr: curves over babble SNRs, and level lines of systems scored on clean alone."""
    curves, levels = {}, {}
    for system, name in rows.items():
        found = {snr: results.summary(system, f"babble_{snr}dB", metric) for snr in SNRS_RECOGNITION}
        points = {snr: (one.value, one.low, one.high) for snr, one in found.items() if one and one.scored}
        clean = results.summary(system, "clean", metric)
        if points:
            curves[name] = points
        elif clean and clean.scored:
            levels[name] = clean.value
    return curves, levels


def read_training_log(path: Path) -> dict[str, np.ndarray]:
    """For figures.training_curves: the ends of epochs in a log.csv, as "epoch" (counted on through all phases), "train"
    and "valid". Raises AvsrError when there is none.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("valid")]
    if not rows:
        raise AvsrError(f"{path}: no epoch was finished; run the training stage again")
    columns = {"train": "train_loss", "valid": "valid"}
    curves = {name: np.array([float(row[column] or "nan") for row in rows]) for name, column in columns.items()}
    return {"epoch": np.arange(1, len(rows) + 1), **curves}


def _frame(run: Run) -> tuple[str, str]:
    return f"<!-- results {run.protocol} {run.preset} -->", f"<!-- end of {run.protocol} {run.preset} -->"


def put_section(path: Path, run: Run, text: str) -> None:
    """Writes the run's section into a RESULTS.md: in place of its older self or at the end; all others stay."""
    begin, end = _frame(run)
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    title = (f"# Results of {run.recipe}{run.mark}\n\n"
             "Written by stage 9 (`--publish true`), a section for each protocol and preset. Do not edit.\n")
    body = f"{begin}\n\n{text.rstrip()}\n\n{end}\n"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end) + "\n?", re.DOTALL)
    if pattern.search(old):
        new = pattern.sub(lambda _: body, old, count=1)
    else:
        new = (old.rstrip() + "\n" if old else title) + "\n" + body
    write_text(path, new)


def publish(folder: Path, recipe_dir: Path, run: Run, keep_figures: bool = False) -> list[Path]:
    """Copies the run's section and the figures that it names from where they were written into the recipe's folder.

    Other sections and their figures are kept; with `keep_figures` also those of the run's former section that were not
    drawn now. Returns the files written. Raises AvsrError when there is no such section or a figure is missing.
    """
    source = Path(folder) / "RESULTS.md"
    begin, end = _frame(run)
    text = source.read_text(encoding="utf-8") if source.exists() else ""
    if begin not in text or end not in text:
        raise AvsrError(f"{source}: no results of protocol {run.protocol}, preset {run.preset}; run stage 9 first")
    text = text.split(begin, 1)[1].split(end, 1)[0].strip()
    figures = sorted(set(re.findall(rf"\(figures/{re.escape(run.key)}/([A-Za-z0-9._+@-]+)\)", text)))
    target, page = figure_folder(recipe_dir, run), Path(recipe_dir) / "RESULTS.md"
    old = figure_texts(page, run) if keep_figures else {}
    kept = {name: figure for name, figure in old.items() if name not in figures and (target / name).is_file()}
    if kept:
        earlier = "Drawn in an earlier part of this run, whose systems are in the tables:"
        text = "\n\n".join([text, earlier, *kept.values()])
    written = []
    for name in figures:
        if not (figure_folder(folder, run) / name).is_file():
            raise AvsrError(f"{figure_folder(folder, run) / name}: this figure is missing; run stage 9 again")
        with atomic_path(target / name) as temporary:
            shutil.copyfile(figure_folder(folder, run) / name, temporary)
        written.append(target / name)
    put_section(page, run, text)
    for path in target.glob("*.png"):
        if path.name not in figures and path.name not in kept:
            path.unlink()
    return [page, *written]


def figure_texts(page: Path, run: Run) -> dict[str, str]:
    """The figures of a run's section: file name -> its lines in markdown. Empty where there is no such section."""
    begin, end = _frame(run)
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    section_text = text.split(begin, 1)[-1].split(end, 1)[0] if begin in text else ""
    pattern = rf"!\[[^\n]*\]\(figures/{re.escape(run.key)}/([A-Za-z0-9._+@-]+)\)\n\n\*[^\n]*\*"
    return {match[1]: match[0] for match in re.finditer(pattern, section_text)}
