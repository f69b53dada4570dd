"""What there is of a clip: its sound, its pictures, whose face; and what is to be said of it."""

from dataclasses import dataclass
from pathlib import Path

from avsr.clips.faces import Face, NoFace, follow
from avsr.clips.sound import Measured, measure
from avsr.media.audio import SOUND_FILES
from avsr.media.video import VideoInfo, open_media, probe


@dataclass(frozen=True)
class Clip:
    """A clip that was looked at once. `sound`, `pictures`, `face`: None where it has none, or none was asked for."""

    path: Path
    sound: Measured | None
    pictures: VideoInfo | None
    face: Face | None
    remarks: tuple[str, ...]  # for the user, a line each


def look(path: Path, sees: bool, hears: bool = True, face: int | None = None) -> Clip:
    """Measures the sound of a clip (`hears`) and follows a face in it (`sees`; the `face`-th from the left).

    Raises UtteranceError: unreadable, silent, without sound where that is needed, not so many faces.
    """
    remarks = []
    pictures = probe(path) if has_pictures(path) else None
    sound = measure(path) if hears else None
    if sound:
        remarks.append(f"{path}: {sound.seconds:.2f} s of sound, {sound.rate} Hz, {sound.channels} "
                       f"channel{'s' * (sound.channels > 1)}")  # fmt: skip
    if pictures:
        remarks.append(f"{path}: pictures of {pictures.width}x{pictures.height}, {pictures.fps:.2f} a second")
    found = None
    if sees and pictures is None:
        remarks.append(f"{path}: has no pictures: nothing is seen")
    elif sees:
        try:
            found = follow(path, face)
        except NoFace as error:
            remarks.append(f"{error}: nothing is seen")
    if found:
        remarks += _faces(path, found, face)
    return Clip(path, sound, pictures, found, tuple(remarks))


def has_pictures(path: Path) -> bool:
    """Whether a file has a stream of pictures; the cover of a recording is none."""
    if path.suffix.lower() in SOUND_FILES:
        return False
    with open_media(path) as container:
        return any(not _is_cover(stream) for stream in container.streams.video)


def _is_cover(stream) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _faces(path: Path, found: Face, face: int | None) -> list[str]:
    said = []
    if found.faces > 1:
        which = f"number {face} from the left" if face else "the largest"
        said.append(f"{path}: {found.faces} faces; {which} is followed (--face 1 to {found.faces}, from the left)")
    parts = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in found.unseen)
    if parts:
        said.append(f"{path}: the face is not to be seen from {parts}: nothing is seen there")
    return said
