"""Lip reading of words, word by word: what each is taken for, and how often it is right."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from avsr.errors import AvsrError
from avsr.scoring.results import Results
from avsr.scoring.tables import System, Table
from avsr.storage.atomic import write_text

FILE = "words.tsv"  # beside the scores.tsv of a lip reader
HEADER = "utt\tword\ttaken_for"
PAIRS = 10  # of the table of confusions
EXTREMES = 5  # words at each end of the table of words


def write_words(path: Path, heard: Mapping[str, tuple[str, str]]) -> None:
    """Writes clip -> (word, what it is taken for) in the order of the clips' names, atomically."""
    lines = (f"{utt}\t{word}\t{taken}\n" for utt, (word, taken) in sorted(heard.items()))
    write_text(path, HEADER + "\n" + "".join(lines))


def read_words(path: Path) -> list[tuple[str, str]]:
    """(word, taken for) of every clip. Raises AvsrError naming the file when it is not whole."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    if not lines or lines[0] != HEADER or any(len(row) != 3 for row in rows):
        raise AvsrError(f"{path}: damaged list of words; delete it and run stage 9 again")
    return [(word, taken) for _, word, taken in rows]


def confused_pairs(pairs: Iterable[tuple[str, str]], count: int = PAIRS) -> list[tuple[str, str, int, int]]:
    """The worst pairs (word, taken for, how often, clips of the word), by the share of the word's clips.

    Of equal shares the one with more clips comes first, then the alphabet decides.
    """
    pairs = list(pairs)
    clips = Counter(word for word, _ in pairs)
    wrong = Counter(pair for pair in pairs if pair[0] != pair[1])
    ranked = sorted(wrong, key=lambda pair: (-wrong[pair] / clips[pair[0]], -wrong[pair], pair))
    return [(*pair, wrong[pair], clips[pair[0]]) for pair in ranked[:count]]


def words_by_accuracy(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, int, int]]:
    """(word, clips that are right, clips) of all words, from the best word to the worst; of equals by the alphabet."""
    right: dict[str, list[bool]] = defaultdict(list)
    for word, taken in pairs:
        right[word].append(word == taken)
    return sorted(
        ((word, sum(one), len(one)) for word, one in right.items()), key=lambda row: (-row[1] / row[2], row[0])
    )


def best_reader(results: Results, rows: Sequence[System]) -> System | None:
    """The lip reader of the highest word accuracy, its checkpoints' own rows included; None where none was scored."""
    scored = [(results.summary(row.id, "words", "top1"), row) for row in rows if row.kind == "lipread"]
    scored = [(one.value, row) for one, row in scored if one is not None and one.scored]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def word_tables(
    exp: Path, results: Results, rows: Sequence[System], mark: str = "", phones: bool = False
) -> list[Table]:
    """Most confused pairs, and the easiest and hardest words, of the best lip reader; clips of all its seeds together.

    No table where there is no lip reader, or nothing is beside its scores: older ones have no words. `phones`: the
    classes are phones.
    """
    best = best_reader(results, rows)
    paths = [] if best is None else [Path(exp) / best.id / f"seed{seed}" / "words" / FILE
                                     for seed in results.seeds(best.id, "words")]
    pairs = [pair for path in paths if path.exists() for pair in read_words(path)]
    if not pairs:
        return []
    confused = [[word, taken, f"{times} of {clips}"] for word, taken, times, clips in confused_pairs(pairs)]
    ranked = words_by_accuracy(pairs)
    shown = ranked if len(ranked) <= 2 * EXTREMES else [*ranked[:EXTREMES], *ranked[-EXTREMES:]]
    words = [[word, f"{100 * right / clips:.1f}", f"{right} of {clips}"] for word, right, clips in shown]
    left_out = "" if len(shown) == len(ranked) else f" Between the {EXTREMES} at either end lie " \
                                                    f"{len(ranked) - len(shown)} more."
    whose, unit = f"Of {best.name}, the best lip reader", "phone" if phones else "word"
    return [
        Table(f"Lip reading: most confused pairs{mark}", [unit, "taken for", "clips"], confused,
              [f"{whose}: the {len(confused)} pairs with the largest share of the {unit}'s clips."], words=True),
        Table(f"Lip reading: easiest and hardest {unit}s{mark}", [unit, "accuracy %", "clips"], words,
              [f"{whose}; chance is {100 / len(ranked):.1f} %.{left_out}"]),
    ]
