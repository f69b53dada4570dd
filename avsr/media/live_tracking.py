"""Landmarks of a live video: as `Tracker`, of pictures so far alone.

Between two detections `Tracker` moves its box along the line from one to the other, so these pictures wait for the next
detection (up to `every` - 1 pictures, 160 ms). Here the box stays where the last detection found it, and the predictor
fits the landmarks in that box; a face that moves meanwhile is up to 160 ms away from the place of its box.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from avsr.media.landmarks import CHANGE, Box, Tracker, patch_of


@dataclass
class LiveTracker(Tracker):
    """Follows one face as `Tracker` does, each picture by those before it: where nothing moves they agree.

    Three cases differ, for nobody knows yet what comes: a box that will have jumped at the next detection is held until
    then, unless the picture in it changes; a lost face is searched for in every picture until it is back, from the
    first one on; and where the face has been found anew between two detections, the box is held there.
    """

    _held: Box | None = None  # the box of the last detection; None: the face is lost

    def track(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """(H, W) pictures -> (68, 2) landmarks each, NaN where the face is lost, before the next one is taken."""
        return map(self.follow, pictures)

    def follow(self, picture: np.ndarray) -> np.ndarray:
        """The next picture, grey (H, W) uint8 -> (68, 2) float32 landmarks in px, NaN where the face is lost."""
        regular = self.counts.frames % self.conf.every == 0
        self.counts.frames += 1
        if not regular and self._held is not None and not self._changed(picture):
            return self._points(picture, self._held)
        box = self._search(picture)
        if regular:
            self.counts.detections += 1
            self.counts.missed += box is None
        else:
            self.counts.redetected += 1
        if box is not None or regular:  # hidden for a moment: it may be back in its place in the next picture
            self._held = box
            self._look = None if box is None else patch_of(picture, box)
        return self._points(picture, box)

    def _changed(self, picture: np.ndarray) -> bool:
        """Whether the picture in the box is another one: the face is hidden, or moving fast."""
        return np.abs(patch_of(picture, self._held) - self._look).mean() > CHANGE
