"""What others have printed for a corpus with systems that are not implemented here: conf/elsewhere/<recipe>.yaml.

Their numbers stand in columns of their own, each with its protocol, beside our lip readers; no difference is computed,
for neither data nor protocol is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avsr.config import CONF, build, read_yaml
from avsr.scoring.results import Results
from avsr.scoring.tables import DASH, System, Table, number

FOLDER = CONF / "elsewhere"
NOTE = ("Columns `paper:` are as printed by others, of their own systems, data and protocols, which are named; they "
        "are no target for ours.")


@dataclass(frozen=True)
class Row:
    """A printed result; numbers in %, as printed, empty where there is none."""

    name: str
    source: str
    protocol: str
    wer: str = ""
    cer: str = ""


def read_rows(recipe: str, folder: Path = FOLDER) -> list[Row]:
    """What is printed for the corpus of a recipe; empty where nothing is listed. UsageError for a wrong key."""
    path = Path(folder) / f"{recipe}.yaml"
    if not path.exists():
        return []
    return [build(Row, row, f"{path}: rows") for row in read_yaml(path)["rows"]]


def lip_reading_table(recipe: str, protocol: str, mark: str, results: Results, rows: Sequence[System]) -> Table | None:
    """Our recognisers of lips alone above what is printed; None where none was scored, or nothing is listed."""
    printed = read_rows(recipe)
    ours = [row for row in rows if row.inputs == "V" and "@" not in row.id and results.measured(row.id, "wer")]
    if not printed or not ours:
        return None
    lines = [[row.name, f"ours: protocol {protocol}, unseen sentences",
              *(number(results.summary(row.id, "clean", name)) for name in ("wer", "cer")), DASH, DASH] for row in ours]
    lines += [[f"{row.name} ({row.source})", row.protocol, DASH, DASH, row.wer or DASH, row.cer or DASH]
              for row in printed]
    header = ["System", "protocol", "WER %", "CER %", "paper: WER %", "paper: CER %"]
    return Table(f"Lip reading of sentences, ours and in print{mark}", header, lines, [NOTE], words=True)
