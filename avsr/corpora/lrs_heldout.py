"""Videos of pretrain that training does not see, for windows that energy errors are measured on (AE-MSR Table 4).

The paper averages over 10,000 clean clips, more than LRS3's test set holds, and does not say which. Decision: windows
of 2 to 6 s, cut as long clips are, of whole videos: first those that validation has taken from training anyway, then
others by hash, at most a tenth of the videos of pretrain that training has.
"""

from collections.abc import Iterator

from avsr.corpora.lrs import PRETRAIN, UNUSED, Clip, Split
from avsr.rng import unit

SECONDS = (2.0, 6.0)  # of a window


def videos_to_hold_out(split: Split, seed: int) -> Iterator[list[Clip]]:
    """The clips of one video of pretrain after another, in the order in which they are to be held out."""
    spare, used = (_by_video(split[name], seed) for name in (UNUSED, "train"))
    yield from spare
    yield from used[: max(1, len(used) // 10) if len(used) > 1 else 0]


def _by_video(clips: list[Clip], seed: int) -> list[list[Clip]]:
    videos: dict[str, list[Clip]] = {}
    for clip in clips:
        if clip.folder == PRETRAIN:
            videos.setdefault(clip.video, []).append(clip)
    return [videos[video] for video in sorted(videos, key=lambda video: unit(seed, video, "held-out windows"))]
