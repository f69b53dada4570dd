"""Faces: NASA's portrait of Eileen Collins (public domain, `skimage.data.astronaut`) and variants of it.

A variant is a still picture, reshaped by smooth bumps at the features of the face, mirrored or not, with other tones
of skin, hair, lips, suit and light; and the lines of its mouth, which the renderer moves. Coordinates named `source`
are pixels of the 512x512 portrait, all others pixels of the picture that is made.
"""

from dataclasses import dataclass, field

import numpy as np

from avsr.rng import rng

CENTRE = np.array([225.0, 136.0])  # source: the middle of the picture
EYES = 60.0  # source pixels between the outer corners of the eyes
EYES_SHARE = 64 / 288  # of the picture's height, as in GRID
OVERSAMPLE = 4  # stills are stored so much larger, so that the nearest pixel is good enough; made by doubling twice

# Source coordinates of what can be reshaped: (x, y, reach, the greatest shift in x and y of a typical variant).
# Left and right move as mirror images of one another.
MIDDLE = {"nose": (225, 122, 13, 0, 4), "chin": (224, 172, 22, 0, 6), "mouth": (223, 147, 24, 0, 3),
          "crown": (225, 50, 45, 0, 9)}  # fmt: skip
PAIRS = {"eye": ((198, 101), (249, 102), 17, 3, 2), "brow": ((203, 88), (248, 90), 15, 1, 3),
         "cheek": ((190, 128), (262, 130), 20, 5, 2), "jaw": ((193, 158), (256, 158), 20, 5, 3),
         "corner": ((202, 141), (245, 141), 13, 3, 2), "nostril": ((215, 129), (234, 129), 8, 2, 1)}  # fmt: skip

# Source lines of the mouth, read off the portrait: x, and y of the lips' four edges (upper outer, upper inner,
# lower inner, lower outer). Between the inner edges are the teeth.
LIPS = np.array([
    (202.0, 139.2, 139.6, 139.8, 140.6), (206, 139.3, 140.6, 143.6, 147.4), (210, 139.4, 141.7, 147.0, 150.6),
    (215, 139.5, 143.2, 149.3, 153.0), (220, 139.5, 143.8, 149.9, 154.2), (225, 139.8, 143.9, 150.0, 154.5),
    (230, 139.8, 143.2, 149.4, 154.0), (235, 139.6, 142.2, 147.0, 151.8), (240, 139.8, 141.2, 144.0, 148.0),
    (245, 139.8, 140.4, 140.7, 141.6),
])  # fmt: skip
NOSE, CHIN, NECK = 133.0, 177.0, 197.0  # source: what the moving lips leave in place, push down, leave in place


@dataclass(frozen=True)
class Face:
    """A still and its mouth. Picture pixels; `scale` is picture pixels for one source pixel.

    still: (OVERSAMPLE*h, OVERSAMPLE*w) uint32, a pixel packed as R + 256 G + 65536 B.
    knots_xk: for every eighth of a pixel from `left` on, y of nose, upper outer, upper inner, lower inner and lower
    outer lip edge, chin, neck.
    """

    still: np.ndarray
    size: tuple[int, int]  # width, height
    scale: float
    centre: tuple[float, float]  # of the mouth
    half_width: float  # of the mouth
    left: float
    knots_xk: np.ndarray
    teeth_rgb: np.ndarray = field(repr=False)  # (3,) float32: how light falls on what is inside the mouth


def make_face(number: int, width: int, height: int, amplitude: float) -> Face:
    """Variant `number` of the face in a picture of width x height. Variants do not depend on a corpus's seed.

    amplitude scales how far the features are moved: 1 is safe, at 2 detectors lose the face.
    """
    generator = rng("mini face", number)
    bumps = _bumps(generator, amplitude)
    mirrored = bool(number % 2)
    scale = height * EYES_SHARE / EYES
    y, x = np.mgrid[: 2 * height, : 2 * width].astype(np.float32) / 2
    source = _to_source(np.stack([x, y], -1), width, height, scale, mirrored, bumps)
    picture = _double(_sample(_tones(_portrait(), generator), source))
    still = picture[..., 0] | (picture[..., 1] << 8) | (picture[..., 2] << 16)

    lines = np.stack([np.full(len(LIPS), NOSE), *LIPS.T[1:], np.full(len(LIPS), CHIN), np.full(len(LIPS), NECK)])
    points = np.stack([np.broadcast_to(LIPS[:, 0], lines.shape), lines], -1)
    points = _from_source(points, width, height, scale, mirrored, bumps)
    points = points[:, ::-1] if mirrored else points
    lips = points[2:4].mean(0)
    left, right = lips[0, 0], lips[-1, 0]
    reach = 1.3 * (right - left)
    at = np.arange(left - reach, right + reach, 0.125)
    knots = np.stack([np.interp(at, line[:, 0], line[:, 1]) for line in points], -1)
    outside = (at < left) | (at > right)
    knots[outside, 1:5] = knots[outside, 1:5].mean(1, keepdims=True)  # beside the mouth the four edges are one
    light = np.array(picture[int(lips[5, 1] - 8 * scale) * OVERSAMPLE, int(lips[5, 0]) * OVERSAMPLE]) / 220
    return Face(
        still, (width, height), scale, tuple(lips.mean(0)), (right - left) / 2, float(at[0]),
        knots.astype(np.float32), np.clip(light, 0.3, 1.1).astype(np.float32),
    )  # fmt: skip


def _portrait() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut().astype(np.float32)


def _bumps(generator: np.random.Generator, amplitude: float) -> list[tuple[float, float, float, float, float]]:
    """(x, y, reach, shift x, shift y) in source pixels."""
    def shifts(across: float, down: float) -> np.ndarray:
        return amplitude * np.clip(generator.normal(0, 0.6, 2), -1.2, 1.2) * (across, down)

    bumps = []
    for x, y, reach, across, down in MIDDLE.values():
        bumps.append((x, y, reach, *shifts(across, down)))
    for left, right, reach, across, down in PAIRS.values():
        dx, dy = shifts(across, down)
        bumps += [(*left, reach, dx, dy), (*right, reach, -dx, dy)]
    return bumps


def _to_source(points: np.ndarray, width: int, height: int, scale: float, mirrored: bool, bumps: list) -> np.ndarray:
    """Picture -> source coordinates, (..., 2)."""
    offset = points - np.array([width / 2, height / 2], np.float32)
    if mirrored:
        offset = offset * np.array([-1, 1], np.float32)
    base = offset / np.float32(scale) + CENTRE.astype(np.float32)
    source = base.copy()
    for x, y, reach, dx, dy in bumps:
        weight = np.exp(-((base[..., 0] - x) ** 2 + (base[..., 1] - y) ** 2) / (2 * reach**2))
        source[..., 0] += np.float32(dx) * weight
        source[..., 1] += np.float32(dy) * weight
    return source


def _from_source(source: np.ndarray, width: int, height: int, scale: float, mirrored: bool, bumps: list) -> np.ndarray:
    """The inverse, by iteration: the bumps are gentle."""
    sign = np.array([-1.0 if mirrored else 1.0, 1.0])
    points = np.array([width / 2, height / 2]) + (source - CENTRE) * scale * sign
    for _ in range(30):
        points = points + (source - _to_source(points, width, height, scale, mirrored, bumps)) * scale * sign
    return points


def _sample(picture: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Picture (512, 512, 3) at source coordinates (h, w, 2), cubic, mirrored beyond its edges: (h, w, 3) uint32."""
    from scipy.ndimage import map_coordinates, spline_filter

    at = np.stack([source[..., 1], source[..., 0]])
    smooth = [
        map_coordinates(spline_filter(picture[..., c], order=3, output=np.float32), at, order=3, mode="mirror",
                        prefilter=False)
        for c in range(3)
    ]  # fmt: skip
    return np.clip(np.stack(smooth, -1) + 0.5, 0, 255).astype(np.uint32)


def _double(picture: np.ndarray) -> np.ndarray:
    """Twice the size, by averaging neighbours: pixel (0, 0) stays where it is."""
    for axis in (0, 1):
        following = np.concatenate([picture.take(range(1, picture.shape[axis]), axis), picture.take([-1], axis)], axis)
        shape = [2 * size if a == axis else size for a, size in enumerate(picture.shape)]
        picture = np.stack([picture, (picture + following + 1) // 2], axis + 1).reshape(shape)
    return picture


def _tones(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Other skin, hair, lips, suit, backdrop and light, (512, 512, 3) float32 in 0..255."""
    y, x = np.mgrid[:512, :512].astype(np.float32)
    grey = picture.mean(-1, keepdims=True)
    colourful = np.clip((picture.max(-1) - picture.min(-1)) / 110 - 0.6, 0, 1)[..., None]
    face = np.maximum(_blob(x, y, 225, 126, 47, 62), _blob(x, y, 222, 178, 34, 14))  # and the neck
    face = face * np.clip((picture[..., :1] - picture[..., 2:] - 8) / 16, 0, 1)  # not the collar
    brown = np.clip((picture[..., :1] - picture[..., 2:] - 20) / 25, 0, 1)  # hair, not the grey backdrop
    head = _blob(x, y, 226, 75, 82, 76) * brown * (1 - face)
    suit = colourful * np.clip((y[..., None] - 150) / 20, 0, 1) * (1 - face)
    lips = _blob(x, y, 223, 146.5, 24, 9) * np.clip((picture[..., :1] - picture[..., 1:2] - 45) / 25, 0, 1)
    pale = np.clip(1.4 - (picture.max(-1) - picture.min(-1)) / 30, 0, 1)[..., None]
    away = pale * (1 - _blob(x, y, 225, 120, 52, 66)) * (1 - _blob(x, y, 210, 215, 105, 70))

    skin = generator.uniform(0.62, 1.06)
    tint = np.array([1.0, generator.uniform(0.94, 1.0) * (0.85 + 0.15 * skin), 0.8 + 0.2 * skin])
    picture = picture * (1 + face * (skin * tint - 1))
    hair = generator.uniform(0.3, 1.1) * np.array([1.0, generator.uniform(0.85, 1.05), generator.uniform(0.7, 1.3)])
    picture = picture * (1 + head * (hair - 1))
    picture = picture * (1 + lips * (np.array([generator.uniform(0.8, 1.05), *generator.uniform(0.6, 0.95, 2)]) - 1))
    cloth = grey * generator.dirichlet([4, 4, 4]) * 3 * generator.uniform(0.6, 1.1)
    picture = picture * (1 - suit) + cloth * suit
    backdrop = generator.uniform(0.55, 1.0) * generator.uniform(0.82, 1.0, 3)
    picture = picture * (1 + away * (backdrop - 1))
    light = generator.uniform(0.85, 1.08) * generator.uniform(0.95, 1.05, 3)
    side = 1 + generator.uniform(-0.12, 0.12) * np.clip((x[..., None] - 225) / 60, -1, 1)
    return np.clip(255 * (picture / 255).clip(0) ** generator.uniform(0.88, 1.12) * light * side, 0, 255)


def _blob(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """1 inside an ellipse, 0 outside, soft between: (h, w, 1)."""
    radius = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)
    return np.clip((1.1 - radius) / 0.2, 0, 1)[..., None]
