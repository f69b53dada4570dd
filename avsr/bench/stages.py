"""How a stage grows: two processes against one, and time and memory with the number of utterances.

Stage 2 (crop) on clips of the mini corpus, each under several ids and cut to a few frames, so that it takes minutes.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from avsr.bench.common import Options, Row, cores, make_mini, run_stage
from avsr.bench.usage import Usage
from avsr.storage.datadir import Utterance, read_datadir, write_datadir

CLIPS, COUNTS, FRAMES = 20, (100, 200, 400), 15
FASTER = 1.6  # with two processes; their start and the last shard, which one of them does alone, keep it from 2
GROWTH = 1.2  # of memory, and of the time for one utterance, which rather falls: the start is shared by more


def run(_options: Options, clips: int = CLIPS, counts: Sequence[int] = COUNTS, frames: int = FRAMES) -> list[Row]:
    """Seconds and memory for each of `counts`, growth from the smallest to the largest, nj=2 on the largest."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        make_mini(work, clips)
        source = list(read_datadir(work / "data" / "train").values())
        crop(work, repeated(source, 1), frames, nj=1)  # warms up: files and code come from the disk
        usage = {count: crop(work, repeated(source, count), frames, nj=1) for count in counts}
        two = crop(work, repeated(source, max(counts)), frames, nj=2)
    return [*growth(usage), *speed_up(max(counts), usage[max(counts)], two)]


def repeated(source: Sequence[Utterance], count: int) -> list[Utterance]:
    """`count` utterances from few: each time round they have new ids and the same files."""
    return [replace(source[k % len(source)], id=f"{source[k % len(source)].id}-{k:05d}") for k in range(count)]


def crop(work: Path, utterances: Sequence[Utterance], frames: int, nj: int) -> Usage:
    """Time and memory of stage 2 on the first `frames` frames of these utterances; what it writes is deleted."""
    with tempfile.TemporaryDirectory(dir=work) as temporary:
        folder = Path(temporary)
        write_datadir(folder / "data", utterances)
        options = [f"--set=crop.frames={frames}", "--nj", str(nj)]
        return run_stage("crop", "--data", folder / "data", "--out", folder / "video", *options)


def growth(usage: dict[int, Usage]) -> list[Row]:
    """Time is to grow as the number of utterances does, memory not at all."""
    rows = []
    for count, (seconds, peak_mb) in usage.items():
        name = f"crop, nj=1, {count} utterances"
        rows += [Row(f"{name}: time", seconds, "s"), Row(f"{name}: memory of the largest process", peak_mb, "MiB")]
    few, many = min(usage), max(usage)
    per_utterance = (usage[many].seconds / many) / (usage[few].seconds / few)
    memory = usage[many].peak_mb / usage[few].peak_mb
    return [
        *rows,
        Row(f"crop, {many} against {few} utterances: time for one utterance", per_utterance, "x", GROWTH),
        Row(f"crop, {many} against {few} utterances: memory", memory, "x", GROWTH),
    ]


def speed_up(count: int, one: Usage, two: Usage) -> list[Row]:
    """Two processes against one; nothing is asked where there is one core."""
    name = f"crop, {count} utterances, nj=2"
    target = FASTER if cores() > 1 else None
    return [
        Row(f"{name}: time", two.seconds, "s"),
        Row(f"{name}: faster than nj=1 by", one.seconds / two.seconds, "x faster", target, least=True),
    ]
