"""Pictures: the still of a face, with its mouth moved by curves and its head by slow wandering.

Every pixel asks where in the still it comes from. The head is a similarity that fades out towards the backdrop; the
mouth moves columns of pixels between knots (nose, lip edges, chin, neck) and leaves a gap between the lips that is
painted: teeth, which are those of the portrait, the dark of the mouth, and the tongue.
"""

from collections.abc import Mapping

import numpy as np

from avsr.corpora.synthesis.face import OVERSAMPLE, Face
from avsr.corpora.synthesis.motion import wander

# Source pixels of the portrait, in which the eyes are 60 apart and the mouth is 44 wide
OPEN = 17.0  # greatest distance of the lips
WIDER, NARROWER = 0.10, 0.30  # share of the mouth's width at width 1 and -1
LOWER_SHARE, CHIN_SHARE = 0.75, 0.6  # of the opening: how much the lower lip and the chin go down
THICKER, POUT = 1.5, 0.35  # the portrait smiles: lips at rest are thicker, and more so when rounded
CORNERS_DOWN = 2.2  # and its corners come down

CAVITY = np.array([48.0, 16.0, 18.0], np.float32)
TONGUE = np.array([176.0, 88.0, 86.0], np.float32)
RISE, SINK = 88.0, 62.0  # how far the moving head reaches up and down from the mouth's centre


def lip_distance(face: Face, curves: Mapping[str, np.ndarray]) -> np.ndarray:
    """(T,) pixels between the inner edges of the lips in their middle."""
    return curves["opening"] * OPEN * face.scale


def mouth_width(curves: Mapping[str, np.ndarray]) -> np.ndarray:
    """(T,) width of the mouth as a share of its width at rest; a falling jaw draws the corners in."""
    width = curves["width"]
    return 1 + np.where(width > 0, WIDER, NARROWER) * width - 0.05 * curves["opening"]


def render(face: Face, curves: Mapping[str, np.ndarray], head_4t: np.ndarray) -> np.ndarray:
    """Frames (T, h, w, 3) uint8 for curves (T,) by name (see motion.CONTROLS) and the head's (see head_motion)."""
    frames = len(curves["opening"])
    width, height = face.size
    scale = face.scale
    still = _unpack(face.still[::OVERSAMPLE, ::OVERSAMPLE])
    out = np.repeat(still[None], frames, 0)
    centre = np.array(face.centre)
    box = _box(centre, (95 * scale, RISE * 1.75 * scale, SINK * scale), face.size)
    mouth = _box(centre, (52 * scale, 28 * scale, 58 * scale), face.size)
    for t in range(frames):
        x, y = _moved(box, centre, scale, head_4t[:, t])
        inner = (slice(mouth[1] - box[1], mouth[3] - box[1]), slice(mouth[0] - box[0], mouth[2] - box[0]))
        state = {name: float(curve[t]) for name, curve in curves.items()}
        x[inner], y[inner], paint = _mouth(face, x[inner], y[inner], state)
        picture = _unpack(_look_up(face.still, x, y))
        picture[inner] = _inside(picture[inner], paint, face.teeth_rgb)
        out[t, box[1] : box[3], box[0] : box[2]] = picture
    return out


def _unpack(packed: np.ndarray) -> np.ndarray:
    """(h, w) uint32 -> (h, w, 3) uint8 RGB."""
    return np.ascontiguousarray(packed).astype("<u4").view(np.uint8).reshape(*packed.shape, 4)[..., :3]


def _box(centre: np.ndarray, reach: tuple[float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a box that reaches so far to the sides, up and down, inside the picture."""
    side, up, down = reach
    left, top = max(0, int(centre[0] - side)), max(0, int(centre[1] - up))
    return left, top, min(size[0], int(centre[0] + side)), min(size[1], int(centre[1] + down))


def head_motion(face: Face, frames: int, fps: float, generator: np.random.Generator) -> np.ndarray:
    """(4, T): shift x and y in pixels, rotation in radians, logarithm of the size."""
    scale = face.scale
    place = generator.normal(0, 1, 4) * (2.5 * scale, 2.0 * scale, 0.012, 0.012)
    amounts = np.array([1.2 * scale, 1.0 * scale, 0.010, 0.006])
    amounts = amounts * generator.uniform(0.5, 1.3)
    return np.stack([p + a * wander(frames, fps, generator, (1.2, 4.0)) for p, a in zip(place, amounts, strict=True)])


def _moved(box: tuple, centre: np.ndarray, scale: float, head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in the still of every pixel of the box, (h, w) float32 each."""
    left, top, right, bottom = box
    across = np.arange(left, right, dtype=np.float32)
    down = np.arange(top, bottom, dtype=np.float32)[:, None]
    dx, dy, turn, size = head
    # The neck at the bottom, the backdrop at the sides and on top stay where they are.
    rise = np.clip((centre[1] + SINK * scale - down) / (34 * scale), 0, 1) * np.clip((down - top) / (14 * scale), 0, 1)
    side = np.clip((right - 1 - across) / (20 * scale), 0, 1) * np.clip((across - left) / (20 * scale), 0, 1)
    weight = ((rise * rise * (3 - 2 * rise)) * (side * side * (3 - 2 * side))).astype(np.float32)
    u = across - np.float32(centre[0])
    v = down - np.float32(centre[1] - 40 * scale)
    cosine, sine = np.float32(np.exp(-size) * np.cos(turn) - 1), np.float32(np.exp(-size) * np.sin(turn))
    x = across + weight * (cosine * u + sine * v - np.float32(dx))
    y = down + weight * (cosine * v - sine * u - np.float32(dy))
    return x, y


def _mouth(face: Face, x: np.ndarray, y: np.ndarray, state: Mapping[str, float]) -> tuple:
    """Where the pixels at x, y come from when the mouth is in this state, and what is to be painted in the gap:
    (weight of the gap, depth below the upper lip, height of the gap, place across -1..1, state)."""
    scale, half = np.float32(face.scale), np.float32(face.half_width)
    # Sideways: the mouth is stretched, the cheeks take it up; above and below it fades.
    share = np.float32(mouth_width({key: np.float32(value) for key, value in state.items()}))
    u, v = x - np.float32(face.centre[0]), y - np.float32(face.centre[1] + 3 * face.scale)
    far = np.clip((2.0 * half - np.abs(u)) / (2.0 * half - half * share), 0, 1)
    fade = np.clip(1 - (v / (30 * scale)) ** 2, 0, 1) ** 2
    x = x + u * (1 / share - 1) * far * fade
    s = (x - np.float32(face.centre[0])) / half

    column = np.clip(((x - face.left) * 8).astype(np.int32), 0, len(face.knots_xk) - 1)
    knots = face.knots_xk[column]
    nose, outer_up, inner_up, inner_low, outer_low, chin, neck = (knots[..., k] for k in range(7))
    fourth = np.square(s * s)  # numpy takes as long for ** 4 as for all the rest
    near = np.exp(-0.5 / 1.3**4 * fourth).astype(np.float32)  # the corners and cheeks follow, the ears do not
    arch = np.sqrt(np.clip(1 - s * s, 0, 1))
    opening = np.float32(state["opening"] * OPEN) * scale * arch
    pout = max(0.0, -state["width"])
    thick = np.float32(THICKER + POUT * pout)

    rest = 0.35 * inner_up + 0.65 * inner_low * arch + 0.65 * inner_up * (1 - arch) - 1.5 * scale * arch
    rest = rest + near * CORNERS_DOWN * scale * np.clip(s * s, 0, 1) * (1 - 0.4 * np.clip(state["width"], 0, 1))
    up = rest - (1 - LOWER_SHARE) * opening
    low = rest + LOWER_SHARE * opening - np.float32(1.5 * state["tuck"]) * scale * arch
    low = np.maximum(low, up)
    up_edge = up - (inner_up - outer_up) * thick
    low_edge = low + (outer_low - inner_low) * thick * np.float32(0.8 - 0.35 * state["tuck"])
    jaw = chin + np.float32(CHIN_SHARE * state["opening"] * OPEN) * scale * np.exp(-0.5 / 1.4**4 * fourth)

    lines_out = [nose, up_edge, up, low, low_edge, jaw, neck]
    lines_in = [nose, outer_up, inner_up, inner_low, outer_low, chin, neck]
    source = _between(y, lines_out, lines_in)
    gap = low - up
    depth = y - up
    weight = np.clip(depth / scale + 0.3, 0, 1) * np.clip((gap - depth) / scale + 0.3, 0, 1)
    weight = weight * np.clip(gap / scale, 0, 1)
    in_gap = (depth > 0) & (depth < gap)
    source = np.where(in_gap, inner_up + np.clip(depth, 0, inner_low - inner_up - 1.0 * scale), source)
    return x, source, (weight * (np.abs(s) < 1), depth / scale, gap / scale, s, state)


def _between(y: np.ndarray, lines_out: list, lines_in: list) -> np.ndarray:
    """Piecewise linear: a pixel between two lines comes from the same place between the lines they come from."""
    source = y
    for above, below, from_above, from_below in zip(
        lines_out, lines_out[1:], lines_in, lines_in[1:], strict=False
    ):
        length = np.maximum(below - above, 1e-3)
        part = from_above + (y - above) * ((from_below - from_above) / length)
        source = np.where((y > above) & (y <= below), part, source)
    return source


def _inside(picture: np.ndarray, paint: tuple, light: np.ndarray) -> np.ndarray:
    """Paints what is seen between the lips over what the still has there (its teeth)."""
    weight, depth, gap, s, state = paint
    rows, columns = np.flatnonzero(weight.any(1)), np.flatnonzero(weight.any(0))
    if len(rows) == 0:
        return picture
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    weight, depth, gap, s = weight[part], depth[part], gap[part], s[part]
    teeth = np.clip((4.5 - depth) / 1.5, 0, 1) * np.clip((0.85 - np.abs(s)) / 0.2, 0, 1) * 0.85
    teeth = teeth * np.clip(1 - 0.75 * max(0.0, -state["width"]), 0, 1)
    low = gap - depth
    tongue = np.clip((low - 1.0) / 1.5, 0, 1) * np.clip((2.0 + 6.0 * state["tongue"] * (1 - s * s) - low) / 2.0, 0, 1)
    tongue = np.clip(tongue * (0.35 + state["tongue"]), 0, 1)
    dark = CAVITY + (TONGUE - CAVITY) * tongue[..., None]
    dark = dark * light
    still = picture[part]
    seen = teeth[..., None] * still + (1 - teeth[..., None]) * dark
    edge = weight[..., None]
    painted = picture.copy()
    painted[part] = (still * (1 - edge) + seen * edge + 0.5).astype(np.uint8)
    return painted


def _look_up(still: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The still's nearest pixel at x, y in picture pixels: (h, w) uint32."""
    column = np.clip((x * OVERSAMPLE + 0.5).astype(np.int32), 0, still.shape[1] - 1)
    row = np.clip((y * OVERSAMPLE + 0.5).astype(np.int32), 0, still.shape[0] - 1)
    return still.reshape(-1).take(row * still.shape[1] + column)
