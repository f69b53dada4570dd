"""The page on which a person sees whether the crops are right: one HTML file with all pictures inside it."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from avsr.errors import UtteranceError
from avsr.media.crops import Cropper, CropShape
from avsr.media.video import read_frames
from avsr.rng import unit
from avsr.storage.arrays import Store
from avsr.storage.atomic import write_text
from avsr.storage.datadir import Utterance

SHOWN = 60  # utterances on the contact sheet: the most suspicious ones, then a choice by hash
CROPS = 8  # crops of each
OFFSET = 0.2  # seconds between sound and picture beyond which stage 3 drops an utterance
STYLE = """body{font:14px sans-serif;margin:2em;max-width:1250px}table{border-collapse:collapse;margin:.5em 0}
td,th{padding:2px 8px;border-bottom:1px solid #ddd;text-align:right;vertical-align:middle}td:first-child,
th:first-child{text-align:left}.bad{background:#fdd}.left td,.left th{text-align:left}img{display:block}
svg{margin-right:2em}rect{fill:#58a}"""
NUMBERS = {
    "eyes": "outer eye corners, px",
    "mouth": "mouth corners, px",
    "offset": "sound minus picture, s",
    "outside": "crop beyond the picture, share",
}


def write_page(
    out: Path, rows: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, str]], videos: Mapping[str, Utterance]
) -> None:
    """Writes `out`/qa.html from a finished stage-2 folder.

    Args:
        rows: those of info.jsonl.
        failed: those of failed.tsv.
        videos: the utterances, for the whole pictures of their files.
    """
    rows = [_flat(row) for row in rows]
    title = f"Crops of {out.name}"
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>",
        f"<h1>{escape(title)}</h1><p>{len(rows)} utterances, {len(failed)} dropped.</p>",
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in remarks(rows)) + "</ul>",
        *(_histogram(label, [row[name] for row in rows]) for name, label in NUMBERS.items()),
        _failures(failed),
        _sheet(out, choose(rows), videos) if rows else "",
        "</html>",
    ]
    write_text(out / "qa.html", "\n".join(parts) + "\n")


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was converted, mended or is odd, with counts: one line each."""
    rows = [_flat(row) for row in rows]
    detections = sum(row["detections"] or 0 for row in rows)
    counts = [
        (sum(row["fps"] != 25 for row in rows), "utterances were not at 25 fps and were converted"),
        (sum((row["faces"] or 0) > 1 for row in rows), "utterances show more than one face; the largest was followed"),
        (sum((row["interpolated"] or 0) > 0 for row in rows), "utterances lost the face for a moment; interpolated"),
        (sum(row["missed"] or 0 for row in rows), f"of {detections} regular detections missed the face"),
        (sum((row["outside"] or 0) > 0 for row in rows), "utterances have crops that reach beyond the picture"),
        (sum(row["sound"] is None for row in rows), "utterances have no readable sound; stage 3 drops them"),
        (sum(abs(row["offset"] or 0) > OFFSET for row in rows), "utterances have sound and picture over 0.2 s apart"),
    ]
    return [f"{count} {text}" for count, text in counts if count]


def choose(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most SHOWN rows: ten each of the most lost faces, largest offsets and crops most outside, then by hash."""
    suspicion = [
        lambda row: (row["missed"] or 0) + (row["interpolated"] or 0),
        lambda row: abs(row["offset"] or 0),
        lambda row: row["outside"] or 0,
    ]
    chosen: dict[str, Mapping] = {}
    for how_bad in suspicion:
        worst = sorted(rows, key=lambda row: (-how_bad(row), row["utt"]))[:10]
        chosen |= {row["utt"]: row for row in worst if how_bad(row) > 0}
    for row in sorted(rows, key=lambda row: unit("qa", row["utt"])):
        if len(chosen) >= SHOWN:
            break
        chosen.setdefault(row["utt"], row)
    return list(chosen.values())


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of info.jsonl with every column of the page; None where the backend knows nothing of it."""
    names = ("detections", "missed", "redetected", "interpolated", "faces", "eyes", "mouth", "outside", "sound")
    flat = dict.fromkeys(names) | dict(row) | dict(row.get("found") or {})
    flat["offset"] = None if flat["sound"] is None else round(flat["sound"] - flat["frames"] / 25, 3)
    return flat


def _histogram(label: str, values: Iterable[float | None], bins: int = 24) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    counts, edges = np.histogram(known, bins)
    heights = 78 * counts / counts.max()
    bars = "".join(
        f"<rect x='{12 * i}' y='{80 - heights[i]:.1f}' width='11' height='{heights[i]:.1f}'>"
        f"<title>{edges[i]:.3g} to {edges[i + 1]:.3g}: {count}</title></rect>"
        for i, count in enumerate(counts)
    )
    text = f"{escape(label)}: {min(known):.3g} ... median {np.median(known):.3g} ... {max(known):.3g}"
    return f"<svg width='{12 * bins}' height='100'>{bars}<text x='0' y='96' font-size='11'>{text}</text></svg>"


def _failures(failed: Sequence[Mapping[str, str]], limit: int = 200) -> str:
    if not failed:
        return ""
    rows = "".join(f"<tr><td>{escape(r['utterance'])}<td>{escape(r['message'])}</tr>" for r in failed[:limit])
    more = f"<p>... and {len(failed) - limit} more: see failed.tsv</p>" if len(failed) > limit else ""
    return f"<h2>Dropped</h2><table class='left'><tr><th>utterance<th>why</tr>{rows}</table>{more}"


def _sheet(out: Path, rows: Sequence[Mapping[str, Any]], videos: Mapping[str, Utterance]) -> str:
    heads = ["utterance", "picture", "frames", "fps", "missed", "interpolated", "faces", "eyes px", "mouth px"]
    heads += ["beyond picture", "sound - picture s"]
    body = []
    store = Store(out / ("crop80" if (out / "crop80" / "store.json").exists() else "crop112"))
    points = Store(out / "landmarks") if (out / "landmarks" / "store.json").exists() else {}
    for row in rows:
        utt = row["utt"]
        landmarks_tpx = points.read(utt) if row["mouth"] and utt in points else None
        strip = _strip(store.read(utt), landmarks_tpx, videos.get(utt), store.meta["window"])
        cells = [f"{row['frames']}", f"{row['fps']:g}", _lost(row), _text(row["interpolated"]), _text(row["faces"])]
        cells += [_text(row[name]) for name in ("eyes", "mouth", "outside", "offset")]
        bad = " class='bad'" if row["missed"] or abs(row["offset"] or 0) > OFFSET else ""
        body.append(f"<tr{bad}><td>{escape(utt)}<td>{_image(strip)}<td>{'<td>'.join(cells)}</tr>")
    note = "Each row: the middle picture with its landmarks and window, then crops from first to last."
    table = f"<table><tr><th>{'<th>'.join(heads)}</tr>{''.join(body)}</table>"
    return f"<h2>Contact sheet</h2><p>{note} All utterances: info.jsonl.</p>{table}"


def _lost(row: Mapping[str, Any]) -> str:
    return "" if row["missed"] is None else f"{row['missed']} of {row['detections']}"


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _strip(crops: np.ndarray, points_tpx: np.ndarray | None, utt: Utterance | None, window: float) -> np.ndarray:
    """(2 crops high, W) grey: the middle picture with landmarks and window, then two rows of crops."""
    middle = len(crops) // 2
    chosen = crops[np.linspace(0, len(crops) - 1, CROPS).round().astype(int)]
    half = CROPS // 2
    sheet = np.vstack([np.hstack(list(chosen[:half])), np.hstack(list(chosen[half:]))])
    try:
        pictures = read_frames(utt.video, part=utt.pictures) if utt and utt.video else iter(())
        picture = next(islice(pictures, middle, None), None)
    except UtteranceError:  # moved or damaged since
        picture = None
    if picture is None:
        return sheet
    return np.hstack([_thumb(picture, points_tpx, middle, window, len(sheet)), sheet])


def _thumb(picture: np.ndarray, points_tpx: np.ndarray | None, number: int, window: float, height: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    scale = height / picture.shape[0]
    image = Image.fromarray(picture).resize((round(picture.shape[1] * scale), height), Image.Resampling.BILINEAR)
    if points_tpx is not None:
        draw = ImageDraw.Draw(image)
        for x, y in points_tpx[number][~np.isnan(points_tpx[number]).any(axis=1)] * scale:
            draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill=255)
        cropper = Cropper(points_tpx, (CropShape(window, 80),))
        (x, y), half = cropper.centres_tx[number] * scale, cropper.sides[0] * scale / 2
        draw.rectangle((x - half, y - half, x + half, y + half), outline=255)
    return np.asarray(image)


def _image(picture: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=80)
    return f"<img alt='' src='data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}'>"
