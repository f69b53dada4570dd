"""Mouth crops of a live video: as `Cropper`, of pictures so far alone.

The centre is the median of the last five pictures, not of two on either side, so it lags two pictures behind a steady
movement; the size of the face is the median of the last ten seconds, not of the utterance. The landmarks before it
come from avsr.media.live_tracking, so that nothing on the way from picture to crop waits for a later picture.
"""

from collections import deque

import numpy as np

from avsr.errors import UtteranceError
from avsr.features.frames import VIDEO_RATE
from avsr.media.crops import SMOOTH, CropShape, cut, face_scale
from avsr.media.landmarks import MOUTH, DetectConf, FaceFinder
from avsr.media.live_tracking import LiveTracker

SECONDS = 10  # of pictures whose median says how large the face is


class LiveCropper:
    """Crops of one talker, picture by picture, each as soon as its landmarks are there."""

    def __init__(self, shape: CropShape):
        self._shape = shape
        self._points: deque[np.ndarray] = deque(maxlen=SECONDS * VIDEO_RATE)
        self._centres: deque[np.ndarray] = deque(maxlen=SMOOTH)

    def crop(self, points_px: np.ndarray | None, picture: np.ndarray) -> np.ndarray:
        """The next landmarks (68, 2) in px and their picture (H, W) uint8 -> (size, size) uint8.

        None, or NaN at the mouth, where the face is lost: the crop stays where it was. Raises UtteranceError before
        the first face.
        """
        if points_px is not None and not np.isnan(points_px[MOUTH]).any():
            self._points.append(points_px)
            self._centres.append(points_px[MOUTH].mean(axis=0, dtype=np.float64))
        if not self._points:
            raise UtteranceError("no face so far: start the stream with the first picture that shows one")
        x, y = np.median(self._centres, axis=0)
        side = self._shape.window * face_scale(np.stack(self._points))
        return cut(picture, y - side / 2, x - side / 2, side, side, self._shape.size, self._shape.through)


class LiveMouth:
    """From the pictures of a live video to the crops of one talker: what a stream is given.

    Args:
        finder: of faces and landmarks; it may serve several videos.
        shape: the crop to make.
        conf: how often a face is looked for; None: as stage 2 by default, in every fifth picture.
    """

    def __init__(self, finder: FaceFinder, shape: CropShape, conf: DetectConf | None = None):
        self._tracker, self._cropper = LiveTracker(finder, conf or DetectConf()), LiveCropper(shape)

    def crop(self, picture: np.ndarray) -> np.ndarray:
        """The next picture, grey (H, W) uint8 at 25 a second -> (size, size) uint8, from it and those before it.

        Where the face is lost the crop stays where it was. Raises UtteranceError before the first face; the next
        picture may be given all the same.
        """
        return self._cropper.crop(self._tracker.follow(picture), picture)
