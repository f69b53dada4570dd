"""Whose lips a row "shuffled video" shows: another clip's, of the same speaker, who says something else in it.

Another speaker's lips would differ in more than what is said. Decision: see docs/decisions.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

from avsr.rng import unit
from avsr.storage.datadir import recording

NEAR = 32  # clips ahead in the hashed order with which one may swap partners
SAME = 1000  # what a partner of the same sentence costs, in shared words


def partners(utts: Iterable[str], speaker_of: Mapping[str, str], text_of: Mapping[str, str]) -> dict[str, str]:
    """Each utterance's partner: the clips of a speaker in a hashed order, each with the next, then swapped for fewer
    words in common. The same for any order of `utts`; every clip is shown once.

    Never the same recording (seen by another camera, say). The same camera's picture where the partner has it. A
    speaker with one recording alone takes one of another such speaker, else of anybody. Empty with one recording.
    `text_of` may lack utterances and hold empty texts: of these nothing is known, and any other clip will do.
    """
    views: dict[str, list[str]] = {}
    for utt in sorted(utts):
        views.setdefault(recording(utt), []).append(utt)
    words = {name: text_of.get(seen[0], "").split() for name, seen in views.items()}
    by_speaker: dict[str, list[str]] = {}
    for name, seen in views.items():
        by_speaker.setdefault(speaker_of[seen[0]], []).append(name)
    groups = [names for names in by_speaker.values() if len(names) > 1]
    alone = [names[0] for names in by_speaker.values() if len(names) == 1]
    shown = {one: other for names in [*groups, alone] for one, other in _deranged(names, words).items()}
    if len(alone) == 1 and groups:
        others = sorted((name for names in groups for name in names), key=lambda name: unit(name, "shuffled video"))
        shown[alone[0]] = min(others[:NEAR], key=lambda name: _shared(words[alone[0]], words[name]))
    return {utt: _view(utt, views[shown[name]]) for name, seen in views.items() if name in shown for utt in seen}


def _deranged(names: Sequence[str], words: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Another one for each, each once; empty for a single one."""
    order = sorted(names, key=lambda name: unit(name, "shuffled video"))
    shown = order[1:] + order[:1]
    if len(order) < 2:
        return {}

    def cost(place: int, other: int) -> float:
        """Of showing at a place what is shown at another one now."""
        one, partner = order[place], shown[other]
        return inf if one == partner else _shared(words[one], words[partner])

    for one in range(len(order)):
        for step in range(1, min(NEAR, len(order) - 1) + 1):
            other = (one + step) % len(order)
            if cost(one, other) + cost(other, one) < cost(one, one) + cost(other, other):
                shown[one], shown[other] = shown[other], shown[one]
    return dict(zip(order, shown, strict=True))


def _shared(words: Sequence[str], others: Sequence[str]) -> int:
    """How many words two texts share; a sentence that is known and the same is worse than any other."""
    return len({*words} & {*others}) + (SAME if words and words == others else 0)


def _view(utt: str, seen: Sequence[str]) -> str:
    """Of the views of a recording the one by the utterance's own camera, else the first."""
    camera = utt.removeprefix(recording(utt))
    return next((other for other in seen if other.removeprefix(recording(other)) == camera), seen[0])
