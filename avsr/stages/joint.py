"""Stage 8, joint: recognisers behind a frozen enhancement system (AE-MSR section 4, VA and VAV).

Reads  the checkpoints of stages 6 and 7, waveforms (3), noise and lists (4), features (5) of DIR
Writes DIR/exp/<system>/seed<k>/: config.yaml train.log log.csv tb/ best.pt checkpoint-*.pt
A training that was stopped goes on where it was; a finished one is not done again.
"""

import sys

from avsr.stages.train_system import train_stage


def main(argv: list[str] | None = None) -> int:
    """Runs the stage; returns its exit code."""
    return train_stage("joint", "joint", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
