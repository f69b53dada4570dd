"""Protocol GT: GRID as under G, with TCD-TIMIT's volunteers in training and as validation (MHCA-AVCRN section 3.1).

The paper validates on 12 men and 10 women who are neither trained nor tested on: more than GRID has left over. So the
volunteers are the only validation, and GRID's other sentences of trained talkers, which validate under G, are not used.
Tests stay GRID's alone.
"""

from collections.abc import Mapping, Sequence

from avsr.corpora import grid, tcd_timit
from avsr.corpora.splits import check_split, protocol_g
from avsr.errors import AvsrError
from avsr.rng import unit

TRAIN_SPEAKERS = 20
VALID_MEN, VALID_WOMEN = 12, 10
CAMERA: tcd_timit.Camera = "straight"
Split = dict[str, list[grid.Clip | tcd_timit.Clip]]  # train, valid, test


def choose_volunteers(volunteers: Mapping[str, Sequence[tcd_timit.Clip]], seed: int) -> dict[str, list[str]]:
    """Who of TCD-TIMIT's speakers trains (20) and who validates (12 men, 10 women), by the seed; lip-speakers do not.

    The 17 of TCD-TIMIT's own test list come last: with all 59 volunteers there nobody of them is chosen.
    Raises AvsrError where there are too few."""
    names = [name for name in volunteers if tcd_timit.VOLUNTEER.fullmatch(name)]
    order = sorted(names, key=lambda name: (name in tcd_timit.TEST, unit(seed, name, "protocol GT")))
    men, women = ([name for name in order if name.endswith(sex)] for sex in "MF")
    valid = [*men[:VALID_MEN], *women[:VALID_WOMEN]]
    train = [name for name in order if name not in valid][:TRAIN_SPEAKERS]
    if len(men) < VALID_MEN or len(women) < VALID_WOMEN or len(train) < TRAIN_SPEAKERS:
        needed = TRAIN_SPEAKERS + VALID_MEN + VALID_WOMEN
        raise AvsrError(
            f"protocol GT needs {needed} volunteers of TCD-TIMIT, {VALID_MEN} men and {VALID_WOMEN} women at least; "
            f"in --tcd-timit-dir are {len(men)} men and {len(women)} women: add the others"
        )
    return {"train": sorted(train), "valid": sorted(valid)}


def make_split(
    speakers: Mapping[str, Sequence[grid.Clip]], volunteers: Mapping[str, Sequence[tcd_timit.Clip]], seed: int
) -> Split:
    """Training, validation and test of the protocol: clips of GRID by talker, and of TCD-TIMIT's straight camera.

    Raises AvsrError: a talker of GRID is missing, too few volunteers, a speaker in two splits."""
    of_grid = protocol_g(speakers, seed)
    chosen = choose_volunteers(volunteers, seed)
    clips = {name: [clip for who in chosen[name] for clip in volunteers[who]] for name in chosen}
    split: Split = {"train": [*of_grid["train"], *clips["train"]], "valid": clips["valid"], "test": of_grid["test"]}
    check_split(split, one=False, valid_unseen=True)
    return split
