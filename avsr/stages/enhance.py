"""Stage 6, enhance: every audio enhancement system of the recipe.

Reads  waveforms (stage 3), noise and lists (4), crops (2) or front-end features (5) of DIR
Writes DIR/exp/<system>/seed<k>/: config.yaml train.log log.csv tb/ best.pt checkpoint-*.pt
A training that was stopped goes on where it was; a finished one is not done again.
"""

import sys

from avsr.stages.train_system import train_stage


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    return train_stage("enhance", "enhance", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
