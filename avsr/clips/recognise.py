"""What is said in a clip of any length, part by part: lips by the front-end, sound at the common level, beam search."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avsr import shipped
from avsr.clips import panel
from avsr.clips.faces import mouths
from avsr.clips.looking import Clip, look
from avsr.clips.parts import Part, heard_parts, seen_parts
from avsr.clips.sound import pieces
from avsr.clips.writing import check_out
from avsr.decoding.beam import decode
from avsr.errors import AvsrError, UsageError, UtteranceError
from avsr.features.frames import VIDEO_RATE
from avsr.features.mel import mel
from avsr.noise.mixing import LEVEL, SILENCE
from avsr.parallel import progress
from avsr.pieces import units_of
from avsr.training import checkpoint as checkpoints
from avsr.training import frontend as frontends
from avsr.training import light

log = logging.getLogger("avsr")


@dataclass(frozen=True)
class Said:
    """A text, and from when to when it is said, in seconds."""

    start: float
    end: float
    text: str


class Recogniser:
    """A trained recogniser with the front-end that it sees by.

    Raises UsageError for a checkpoint of something else, AvsrError where it sees and no front-end is given or found.
    """

    def __init__(self, checkpoint: Path, frontend: Path | None = None, device: str = "cpu"):
        self.model, content = checkpoints.load_model(checkpoint, device)
        if not hasattr(self.model, "encode"):
            raise UsageError(f"{checkpoint}: is of {content['system']}, which writes no text; name a recogniser")
        self.units, self.device = units_of(content, str(checkpoint)), device
        self.sees, self.hears = bool(self.model.video_input), bool(self.model.audio_input)
        self._front = light.inside(content, checkpoint, device) if self.sees and frontend is None else None
        if self.sees and self._front is None:
            self._front = frontends.load(frontends.find(frontend) if frontend else frontend_of(checkpoint), device)

    def text(self, wave_n: np.ndarray | None, crops_thw: np.ndarray | None, beam: int, length_penalty: float) -> str:
        """What is said: (640 t,) samples, (t, 112, 112) uint8 mouths, each None where the recogniser has no use for it,
        mouths also where they are not to be seen."""
        frames = len(wave_n) // 640 if wave_n is not None else len(crops_thw)
        heard = None if wave_n is None else self._tensor(mel(at_level(wave_n), self.model.mel_set))
        with torch.inference_mode():
            lips = self._lips(crops_thw, frames) if self.sees else None
            frames_b = torch.tensor([frames], device=self.device)
            memory = self.model.encode(heard, lips, frames_b)
            (ids,) = decode(self.model, memory, frames_b, beam, length_penalty)
        return self.units.decode(ids)

    def _lips(self, crops_thw: np.ndarray | None, frames: int) -> torch.Tensor:
        if crops_thw is None:  # features of nothing
            return self._front(torch.zeros((1, frames, 112, 112), dtype=torch.uint8, device=self.device)) * 0
        return self._front(self._tensor(crops_thw))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))[None].to(self.device)


def frontend_of(checkpoint: Path) -> Path:
    """The front-end of the work folder that a recogniser lies in: exp/frontend.pt, or of exp/p3d50. AvsrError: none."""
    exp = checkpoint.resolve().parent.parent.parent
    found = [path for path in (exp / "frontend.pt", exp / "p3d50/seed0/best.pt") if path.is_file()]
    if not found:
        raise AvsrError(f"{checkpoint}: sees, and beside it in {exp} is no front-end; {frontends.GIVE} with --frontend")
    return found[0]


def at_level(wave_n: np.ndarray) -> np.ndarray:
    """The samples at RMS 0.05; silence stays as it is."""
    power = float(np.mean(np.square(wave_n, dtype=np.float64)))
    return (wave_n * (LEVEL / np.sqrt(max(power, SILENCE)))).astype(np.float32)


def recognise(
    path: Path | str,
    *,
    checkpoint: Path | str | None = None,
    frontend: Path | str | None = None,
    face: int | None = None,
    show: Path | str | None = None,
    overwrite: bool = False,
    beam: int = 30,
    length_penalty: float = 1.0,
    device: str = "cpu",
) -> list[Said]:
    """What is said in a clip, a part after another.

    Args:
        path: any file that FFmpeg reads.
        checkpoint: of a recogniser or a joint system; not given: the one that comes with avsr.
        frontend: what it sees by; inside the checkpoint or beside it where not given.
        face: number from the left, in the place of the largest.
        show: a PNG of what the recogniser saw and heard of the first part, with its text.
        overwrite: a file that is there already is written over.
        beam, length_penalty: as in section `score:` of a recipe.
    Raises UtteranceError for a clip that cannot be used (lips alone, and no face), UsageError and AvsrError for a
    checkpoint that cannot.
    """
    if show:
        check_out(Path(show), Path(path), overwrite, (".png",))
    checkpoint = shipped.chosen(checkpoint, shipped.RECOGNISER)
    reader = Recogniser(checkpoint, frontend and Path(frontend), device)
    clip = look(Path(path), reader.sees, reader.hears, face)
    for line in clip.remarks:
        log.info("%s", line)
    if clip.face is None and not reader.hears:
        raise UtteranceError(f"{path}: nothing is seen, and {checkpoint} does not hear; take another one")
    parts = heard_parts(pieces(clip.path, clip.sound)) if reader.hears else seen_parts(len(clip.face.seen_t))
    length = clip.sound.seconds if reader.hears else len(clip.face.seen_t) / VIDEO_RATE
    said = []
    for part, crops_thw in progress(with_mouths(clip, parts), max(round(length / 6), 1), "recognise"):
        said.append(Said(*part.times, reader.text(part.wave_n, crops_thw, beam, length_penalty)))
        if show and len(said) == 1:
            heard = [mel(at_level(part.wave_n), "mel_slaney")] if part.wave_n is not None else []
            kept = panel.Kept(heard, [], [] if crops_thw is None else list(crops_thw[::5]))
            panel.save(panel.draw(kept, Path(path).name, said[0].text), Path(show))
            log.info("look at %s", show)
    return said


def with_mouths(clip: Clip, parts: Iterator[Part]) -> Iterator[tuple[Part, np.ndarray | None]]:
    """Each part with its mouths (t, 112, 112), the last one repeated where pictures end; None where the face is not to
    be seen in more than half of it."""
    found = mouths(clip.path, clip.face, "crop112") if clip.face else iter(())
    last: Any = None
    for part in parts:
        crops = []
        for _ in range(part.first, part.end):
            last = next(found, last)
            crops.append(last)
        seen = clip.face is not None and clip.face.seen_t[part.first : part.end].sum() > (part.end - part.first) / 2
        yield part, np.stack(crops) if seen else None
