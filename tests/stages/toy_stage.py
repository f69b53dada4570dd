"""A stage for tests: arrays that follow from their ids. `--trouble` makes it fail in a chosen way."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from avsr.errors import AvsrError, UtteranceError
from avsr.rng import rng
from avsr.stages import common


def make_worker(trouble):
    if trouble == "start":
        raise AvsrError("noise/store.json is missing: stage 4 makes it")

    def work(utt):
        if trouble == "bad" and utt.endswith("7"):
            raise UtteranceError(f"{utt}: no face was found")
        if trouble == "many" and utt.endswith(("1", "3", "5", "7")):
            raise UtteranceError(f"{utt}: no face was found")
        if trouble == "memory":
            raise MemoryError
        if trouble == "bug":
            raise ZeroDivisionError("a bug")
        if trouble == "killed" and utt == "s1-070":
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == "slow":
            time.sleep(0.05)
        draw = rng(0, utt, "toy")
        return {"a": draw.integers(0, 256, (4, 3)).astype(np.uint8), "b": draw.random(50).astype(np.float32)}

    return work


def body(args, stage):
    stores = {"a": {"kind": "toy"}, "b": {}}
    stage.process([f"s1-{k:03d}" for k in range(100)], make_worker, (args.trouble,), args.out, stores, "toy")


def main(argv=None):
    parser = common.parser("crop", "A toy.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trouble")
    return common.run(parser, body, argv)


if __name__ == "__main__":
    sys.exit(main())
