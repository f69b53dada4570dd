"""Recognition scores: word and character errors, word accuracy, and transcripts in sclite's trn format."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avsr.corpora.grid import GRAMMAR
from avsr.storage.atomic import write_text

KEYWORDS = (3, 4)  # places of letter and digit in a sentence of GRID


def normalise(text: str) -> str:
    """Upper case, words apart by one space (AE-MSR scores upper-case words split at spaces)."""
    return " ".join(text.upper().split())


def count_errors(reference: str, hypothesis: str) -> dict:
    """Word and character errors of one utterance by jiwer; rates are pooled over the test set, never capped.

    Returns words, word_errors, substitutions, deletions, insertions, chars, char_errors; of a sentence of GRID also
    keywords (2, letter and digit) and keyword_hits, how many of them stand against themselves. Characters include the
    single spaces between words.
    """
    import jiwer

    reference, hypothesis = normalise(reference), normalise(hypothesis)
    words = jiwer.process_words(reference, hypothesis)
    chars = jiwer.process_characters(reference, hypothesis)
    return {
        "words": len(reference.split()),
        "word_errors": words.substitutions + words.deletions + words.insertions,
        "substitutions": words.substitutions,
        "deletions": words.deletions,
        "insertions": words.insertions,
        "chars": len(reference),
        "char_errors": chars.substitutions + chars.deletions + chars.insertions,
        **(_keywords(words.alignments[0]) if is_grid(reference) else {}),
    }


def is_grid(sentence: str) -> bool:
    """Whether a normalised sentence has the six words of GRID's grammar."""
    spoken = sentence.lower().split()
    return len(spoken) == len(GRAMMAR) and all(
        word in words.values() for word, words in zip(spoken, GRAMMAR, strict=True)
    )


def _keywords(alignment: Iterable[Any]) -> dict:
    """Letter and digit are what GRID's users count: the fourth and fifth word."""
    right = {k for chunk in alignment if chunk.type == "equal" for k in range(chunk.ref_start_idx, chunk.ref_end_idx)}
    return {"keywords": len(KEYWORDS), "keyword_hits": sum(k in right for k in KEYWORDS)}


def score_transcripts(reference: str, best: str, greedy: str | None = None) -> dict:
    """The columns of a scores file for one utterance: errors of the beam's best and, where given, of greedy search."""
    counts = count_errors(reference, best)
    if counts["words"] == 0:  # no error rate can be had of it, and its insertions belong to no reference
        return {"reason": "wer: the reference is empty"}
    names = ("words", "word_errors", "chars", "char_errors", "keywords", "keyword_hits")
    scores = {name: counts[name] for name in names if name in counts}
    if greedy is not None:
        plain = count_errors(reference, greedy)
        scores |= {"greedy_word_errors": plain["word_errors"], "greedy_char_errors": plain["char_errors"]}
    return scores


def score_label(scores_k: np.ndarray, label: int) -> dict:
    """top1 and top5 (0 or 1) of one word clip from the classifier's scores (classes,); of equals the first is ahead."""
    scores_k = np.asarray(scores_k, np.float64)
    rank = int(np.sum(scores_k > scores_k[label]) + np.sum(scores_k[:label] == scores_k[label]))
    return {"top1": int(rank == 0), "top5": int(rank < 5)}


def write_trn(path: Path, transcripts: Mapping[str, str]) -> None:
    """Writes `WORDS (utterance)` lines in the order of utterance ids, atomically."""
    write_text(path, "".join(f"{normalise(transcripts[utt])} ({utt})\n".lstrip() for utt in sorted(transcripts)))


def read_trn(path: Path) -> dict[str, str]:
    """Utterance -> words of a file that `write_trn` wrote; empty where there is none."""
    if not Path(path).exists():
        return {}
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {utt.rstrip(")"): words.strip() for words, _, utt in (line.rpartition("(") for line in lines)}
