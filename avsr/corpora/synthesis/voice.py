"""Voices: espeak-ng through ctypes, sound together with the times of its words and phonemes.

The library comes with the `espeakng-loader` package, voices included; no programs are started and no root is needed.
"""

import _ctypes
import ctypes
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsr.errors import AvsrError

RATE = 22050  # espeak-ng's own; it is checked when the library starts

# espeak-ng/speak_lib.h
_SYNCHRONOUS = 2
_WITH_PHONEME_EVENTS, _DO_NOT_EXIT = 0x0001, 0x8000
_UTF8, _PHONEMES_IN_TEXT = 0x0001, 0x0100
_SPEED, _PITCH, _GAP = 1, 3, 7
_WORD, _END, _PHONEME = 1, 5, 7
_LONGEST_PATH = 140  # espeak-ng keeps its data path in 160 characters


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("utterance", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Speech:
    """A spoken sentence. `words` and `phones` are (start s, end s, name); phone names are espeak-ng's mnemonics."""

    wave: np.ndarray  # (n,) float32 in -1..1 at `rate`
    rate: int
    words: tuple[tuple[float, float, str], ...]
    phones: tuple[tuple[float, float, str], ...]


def speak(words: Sequence[tuple[str, str]], voice: str, speed: int = 170, pitch: int = 50, gap: int = 0) -> Speech:
    """Speaks a sentence given as (word, how to say it) pairs; `[['eI]]` says phonemes, all else is plain text.

    voice: name of a variant of American English, as `f4`. speed: words a minute. pitch: 0..100, 50 is the voice's own.
    gap: pause between words, in 10 ms.
    Raises AvsrError when the library does not start, has no such voice, or does not say what was asked.
    """
    import espeakng_loader

    if not (Path(espeakng_loader.get_data_path()) / "voices/!v" / voice).is_file():  # it would speak with another one
        raise AvsrError(f"espeak-ng has no voice {voice!r}; reinstall espeakng-loader")
    samples, events = _synthesise(" ".join(said for _, said in words), voice, speed, pitch, gap)
    if any(said.startswith("[[") for _, said in words[:1]):
        raise AvsrError("espeak-ng reports no word for phonemes at the start of a sentence; say a plain word first")
    starts = [sample for kind, sample, _ in events if kind == _WORD]
    end = max(sample for kind, sample, _ in events if kind in (_END, _PHONEME))
    if len(starts) != len(words):
        raise AvsrError(f"espeak-ng spoke {len(starts)} words, not {len(words)}: {' '.join(word for word, _ in words)}")
    marks = [(sample, name) for kind, sample, name in events if kind == _PHONEME and name != ";"]  # ; is no sound
    ends = [sample for sample, _ in marks[1:]] + [end]
    phones = [(a / RATE, b / RATE, name) for (a, name), b in zip(marks, ends, strict=True) if not name.startswith("_")]
    spoken_end = phones[-1][1]
    edges = [start / RATE for start in starts] + [spoken_end]
    named = tuple((a, b, word) for a, b, (word, _) in zip(edges, edges[1:], words, strict=False))
    wave = samples[: round(spoken_end * RATE)].astype(np.float32) / 32768
    return Speech(wave, RATE, named, tuple(phones))


def _synthesise(
    text: str, voice: str, speed: int, pitch: int, gap: int
) -> tuple[np.ndarray, list[tuple[int, int, str]]]:
    """Samples (n,) int16 and events (kind, sample, name)."""
    pieces: list[bytes] = []
    events: list[tuple[int, int, str]] = []

    def receive(wave, count: int, event) -> int:
        if wave and count > 0:
            pieces.append(ctypes.string_at(wave, 2 * count))
        index = 0
        while event[index].type:
            events.append((event[index].type, event[index].sample, event[index].name.decode("utf-8", "replace")))
            index += 1
        return 0

    callback = _Callback(receive)
    with _library() as library:
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(f"en-us+{voice}".encode()) != 0:
            raise AvsrError("espeak-ng has no American English; reinstall espeakng-loader")
        library.espeak_SetParameter(_SPEED, speed, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        library.espeak_SetParameter(_GAP, gap, 0)
        data = text.encode()
        flags = _UTF8 | _PHONEMES_IN_TEXT
        library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, flags, None, None)
    if not pieces:
        raise AvsrError(f"espeak-ng gave no sound for {text!r}")
    return np.frombuffer(b"".join(pieces), np.int16), events


@contextmanager
def _library() -> Iterator[ctypes.CDLL]:
    """espeak-ng, freshly loaded. It keeps pitch flutter and noise in static variables that nothing resets, so a
    sentence would depend on those before it; unloading the library is what makes it the same every time (7 ms)."""
    import espeakng_loader

    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    try:
        with _short_path(Path(espeakng_loader.get_data_path())) as data:
            options = _WITH_PHONEME_EVENTS | _DO_NOT_EXIT
            rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), options)
            if rate != RATE:
                raise AvsrError(f"espeak-ng did not start with its data in {data}; reinstall espeakng-loader")
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # it has just been seeded from the clock; breath needs it
            ctypes.CDLL(None).srand(1)
            try:
                yield library
            finally:
                library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)


@contextmanager
def _short_path(path: Path) -> Iterator[Path]:
    """The path, or a short link to it where it is too long for espeak-ng."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="espeak-") as folder:
        link = Path(folder) / "data"
        link.symlink_to(path, target_is_directory=True)
        yield link
