"""Random choices that depend on what they are for, never on who makes them or in which order."""

import hashlib

import numpy as np


def _hash(parts: tuple) -> int:
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def rng(*parts: object) -> np.random.Generator:
    """A generator seeded by the hash of its parts, as in `rng(seed, utt, epoch, "noise offset")`.

    The same parts give the same numbers for any number of processes, order or resumption.
    """
    return np.random.Generator(np.random.PCG64(_hash(parts)))


def unit(*parts: object) -> float:
    """One number in [0, 1) from the hash of its parts; cheaper than a generator."""
    return (_hash(parts) >> 75) / 2**53
