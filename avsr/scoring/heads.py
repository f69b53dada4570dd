"""The caption of an enhancement table: what its systems put out, and how waveforms are made of that."""

from collections.abc import Iterable

from avsr.scoring.tables import System

NEVER_LOUDER = ("gain", "capped")  # reconstructions that cannot amplify the mixture


def head_note(rows: Iterable[System], recon: str) -> str:
    """One line: the head of the systems among `rows`, by name where they differ, the reconstruction, and whose estimate
    it cuts.

    A table is to have one head and one reconstruction. Of a checkpoint scored beside the systems neither name nor head
    is known here; the line says so.
    """
    rows = list(rows)
    systems = [row for row in rows if row.head and "@" not in row.id]
    by_head: dict[str, list[str]] = {}
    for row in systems:
        by_head.setdefault(row.head, []).append(row.name)
    parts = [f"Reconstruction of all rows (`score.recon`): {recon}."]
    if len(by_head) == 1:
        parts.insert(0, f"Head of all systems: {next(iter(by_head))}.")
    elif by_head:
        named = [f"{head} ({', '.join(names)})" for head, names in by_head.items()]
        parts.insert(0, f"Heads: {'; '.join(named)}.")
    if any("@" in row.id for row in rows):
        parts.insert(1, "Rows with the digest of a checkpoint have the head of that training.")
    if recon in NEVER_LOUDER:
        louder = [f"{row.name} (a mask of 0 to {row.loudest:g})" for row in systems if row.loudest > 1]
        louder += [f"{row.name} (head {row.head})" for row in systems if row.head in ("direct", "residual")]
        if louder:
            parts.append(f"It cannot amplify, so these are heard up to the level of the mixture: {', '.join(louder)}.")
    waves = [row.name for row in systems if row.makes_wave]
    if waves:
        parts.append(f"The estimate is a waveform already, and needs none: {', '.join(waves)}.")
    return " ".join(parts)
