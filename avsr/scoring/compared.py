"""Table 3 of MHCA-AVCRN: the systems of other papers, in natural noise.

The paper prints its own PESQ minus the one that the other paper prints, on other data: no improvement over a mixture.
So the table keeps apart what we measured, that printed difference, and the PESQ that it implies.
"""

from collections.abc import Sequence

from avsr.scoring.heads import head_note
from avsr.scoring.metrics import metric
from avsr.scoring.published import PublishedNumbers
from avsr.scoring.results import Results
from avsr.scoring.tables import DASH, SNRS_ENHANCEMENT, System, Table, number, signed

PROPOSED = "mhca_avcrn"
AS_PUBLISHED = "_faithful"  # ends the id of a system in the form of its own paper
PESQ = "pesq_raw"
QUANTITIES = (
    "PESQ, ours",
    "improvement over unprocessed, ours",
    "MHCA-AVCRN minus this system, ours",
    "paper: MHCA-AVCRN minus this system",
    "implied by the paper: PESQ of this system",
)
NOTE = (
    "Raw narrow-band P.862. Differences of ours are paired, on the same mixtures. The paper's difference is its own "
    "PESQ minus that of the other paper, which has other data, noise and perhaps another kind of PESQ; the implied "
    "PESQ is its Table 1 minus that difference: our arithmetic, printed nowhere."
)


def compared_table(
    mark: str, results: Results, rows: Sequence[System], published: PublishedNumbers, recon: str = "gain"
) -> Table | None:
    """Table 3 beside our own runs; None where the run has none of its systems.

    A row for each system of the paper's table that is among `rows`, one for its form as published by its own authors,
    where that is run, and the proposed system's own. PESQ is raw, -0.5 to 4.5.
    """
    compared = [row for row in rows if _printed(row, published)]
    if not compared:
        return None
    columns = [f"natural_{snr}dB" for snr in SNRS_ENHANCEMENT]
    lines, missing = [], []
    for row in [*compared, *(row for row in rows if row.id == PROPOSED)]:
        measured = [results.summary(row.id, test_set, PESQ) for test_set in columns]
        if not any(measured):
            missing.append(row.name)
        cells = [_cells(row, test_set, results, published) for test_set in columns]
        lines.append([row.name, *(by_set[k] for k in range(len(QUANTITIES)) for by_set in cells)])
    header = ["System", *(f"{what}, {snr} dB" for what in QUANTITIES for snr in SNRS_ENHANCEMENT)]
    shown = {line[0] for line in lines}
    notes = [NOTE, head_note([row for row in rows if row.name in shown], recon)]
    notes += published.otherwise(row.id for row in rows if row.id == PROPOSED and row.name not in missing)
    notes += [*([f"Not run: {', '.join(missing)}."] if missing else [])]
    title = f"Enhancement: systems of other papers, natural noise (MHCA-AVCRN Table 3){mark}"
    if len(missing) == len(lines):
        return Table(title, [], [], notes[-1:])
    return Table(title, header, lines, notes)


def _printed(row: System, published: PublishedNumbers) -> bool:
    """Whether the paper's Table 3 has this system, be it ours in its form as published."""
    name = row.id.removesuffix(AS_PUBLISHED)
    return any(published.cell(name, f"natural_{snr}dB", "pesq_difference") for snr in SNRS_ENHANCEMENT)


def _cells(row: System, test_set: str, results: Results, published: PublishedNumbers) -> list[str]:
    """One cell for each of QUANTITIES. Printed numbers stand beside the comparable form alone, once in the table."""
    decimals = metric(PESQ).decimals
    this, proposed = (row.id, test_set, PESQ), (PROPOSED, test_set, PESQ)
    gain = results.difference(this, ("unprocessed", test_set, PESQ))
    below = None if row.id == PROPOSED else results.difference(proposed, this)
    printed = [published.cell(row.id, test_set, name) or DASH for name in ("pesq_difference", "pesq_implied")]
    return [number(results.summary(*this)), signed(gain, decimals), signed(below, decimals), *printed]
