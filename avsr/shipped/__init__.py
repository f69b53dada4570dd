"""Two small trained systems that come with the toolkit, for a clip of one's own. Their card: README.md beside."""

import logging
from pathlib import Path

log = logging.getLogger("avsr")

ENHANCER = Path(__file__).with_name("enhancer.pt")
RECOGNISER = Path(__file__).with_name("recogniser.pt")
CARD = Path(__file__).with_name("README.md")
KNOWS = {
    ENHANCER: "MHCA-AVCRN in the size tiny, of one man (GRID s1): it keeps his voice; of other people's it may keep "
    "little",
    RECOGNISER: "EG-seq2seq AV below 1 MB, of one man (GRID s1) and the sentences of GRID, six words of 51: such a "
    "sentence is what it writes, whatever is said and whoever says it",
}


def chosen(checkpoint: Path | str | None, shipped: Path) -> Path:
    """The checkpoint that was named, or `shipped` (ENHANCER, RECOGNISER) where none was, which says what it knows."""
    if checkpoint is not None:
        return Path(checkpoint)
    log.info("no checkpoint was named, so the one that comes with avsr is taken: %s (%s)", KNOWS[shipped], CARD)
    return shipped
