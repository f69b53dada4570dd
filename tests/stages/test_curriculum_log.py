"""What the curriculum of a recogniser leaves in train.log and log.csv: words, lengths, WER."""

import csv
import re

import jiwer
import pytest
import torch

from avsr.decoding.greedy import greedy
from avsr.errors import UsageError
from avsr.models.systems import load_system
from avsr.noise.lists import NoiseConf
from avsr.stages.train_system import TrainStageConf, inputs_of, plan, train_one
from avsr.text import Characters
from avsr.training import checkpoint
from avsr.training.conf import Phase
from avsr.training.tasks import recognise
from avsr.training.tasks.recognise import RecogniseData, RecogniseTask
from tests.stages.tiny import make_work
from tests.training.toy import ToyTask, run_toy

PHASES = [
    {"name": "words2", "epochs": 2, "options": {"words": 2}},
    {"name": "sentences", "epochs": 1, "options": {"words": None}},
]
OPTIONS = {"batch": 2, "lr": 5e-3, "precision": "fp32", "channels_last": False, "workers": 0, "epoch_examples": None}
TRAIN = {"recogniser": OPTIONS | {"tensorboard": False, "log_every": 1, "phases": PHASES}}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return make_work(tmp_path_factory.mktemp("curriculum") / "work", frames=12)


def trained(work, seed):
    """The folder of a training of eg_a."""
    conf, system = TrainStageConf(preset="tiny", train=TRAIN), load_system("eg_a", "tiny")
    train_one(**plan(system, conf, work, seed, "cpu", inputs_of(system, conf, work, seed)).args)
    return work / f"exp/eg_a/seed{seed}"


def table(folder):
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(work):
    return trained(work, 0)


def test_each_phase_ends_with_a_line_of_its_numbers(run):
    lines = [line.split(" INFO ")[1] for line in (run / "train.log").read_text().splitlines() if " ends after " in line]
    number = r"(\d+\.\d+)"
    said = re.compile(
        rf"phase (\w+) ends after (\d) epochs: longest window (\d) words, mean clip {number} s, "
        rf"valid loss {number}, WER {number} %, CER {number} %, 6 utterances decoded"
    )
    found = [said.fullmatch(line).groups() for line in lines]
    assert [one[:3] for one in found] == [("words2", "2", "2"), ("sentences", "1", "6")]
    assert float(found[0][3]) < 0.48 == float(found[1][3])  # 12 frames
    ends = [row for row in table(run) if row["wer"]]
    assert [(row["phase"], row["epoch"], row["valid"], row["train_loss"]) for row in ends] == [
        ("words2", "2", "", ""),
        ("sentences", "1", "", ""),
    ]
    for row, one in zip(ends, found, strict=True):
        assert (f"{float(row['wer']):.1f}", f"{float(row['cer']):.1f}") == one[5:7]
    losses = [float(row["valid"]) for row in table(run) if row["valid"]]
    assert [float(one[4]) for one in found] == pytest.approx([losses[1], losses[2]], rel=1e-4)


def test_the_rates_are_those_of_the_last_weights_one_utterance_at_a_time(work, run):
    model, _ = checkpoint.load_model(sorted(run.glob("checkpoint-*.pt"))[-1])
    task = RecogniseTask(RecogniseData(work, True, None, NoiseConf(), 0))
    examples, references, found = task.valid_examples(Phase("x", options={"words": None})), [], []
    for item in (examples[i] for i in range(len(examples))):
        frames = torch.tensor([item["frames"]])
        memory = model.encode(torch.from_numpy(item["noisy_mel"])[None], None, frames)
        found.append(Characters().decode(greedy(model, memory, frames)[0]))
        references.append(Characters().decode(item["tokens"].tolist()))
    last = [row for row in table(run) if row["wer"]][-1]
    assert float(last["wer"]) == pytest.approx(100 * jiwer.wer(references, found))
    assert float(last["cer"]) == pytest.approx(100 * jiwer.cer(references, found))


def test_training_does_not_feel_it(work, run, tmp_path, monkeypatch):
    run.rename(tmp_path / "run")
    monkeypatch.setattr(RecogniseTask, "phase_end", lambda *_: {"wer": float(torch.rand(())), "cer": 0.0})
    (tmp_path / "again").symlink_to(trained(work, 0))
    first, again = ([row["train_loss"] + row["valid"] for row in table(tmp_path / name)] for name in ("run", "again"))
    assert first == again and len(first) > 10


def test_no_more_than_so_many_utterances_are_decoded_and_always_the_same(work, monkeypatch):
    task = RecogniseTask(RecogniseData(work, True, None, NoiseConf(), 0))
    seen = []

    class Model:
        def encode(self, mel, feats, frames):
            seen.append(len(frames))

    monkeypatch.setattr(recognise, "DECODED", 5)
    monkeypatch.setattr(recognise, "BATCH", 3)
    monkeypatch.setattr(recognise, "greedy", lambda model, memory, frames: [[5]] * len(frames))
    first, again = (task.phase_end(Model(), Phase("x", options={"words": 1}), torch.device("cpu")) for _ in range(2))
    assert seen == [3, 2] * 2 and first == again and first["decoded"] == 5


def test_scheduled_sampling_rises_within_its_phase(work):
    task, shares = RecogniseTask(RecogniseData(work, True, None, NoiseConf(), 0)), []

    class Model:
        def loss(self, *inputs_and_share):
            shares.append(inputs_and_share[-1])
            return torch.tensor(1.0), 1

    for phase in (Phase("last", options={"words": None, "sampling": 0.2}), Phase("strict", options={"words": None})):
        for task.progress in (0.0, 0.5, 1.0):
            task.loss(Model(), {}, phase)
    assert shares == pytest.approx([0.0, 0.1, 0.2, 0.0, 0.0, 0.0])
    with pytest.raises(UsageError, match="sampling must lie between 0 and 1, not 1.5"):
        task.valid_examples(Phase("last", options={"sampling": 1.5}))


def test_the_share_of_a_phase_that_is_done_is_told_to_the_task(tmp_path):
    told = []

    class Watching(ToyTask):
        def loss(self, model, batch, phase):
            if model.training:
                told.append((phase.name, self.progress))
            return super().loss(model, batch, phase)

    phases = [{"name": "one", "epochs": 2}, {"name": "two", "epochs": 1}]
    run_toy(tmp_path, Watching(), precision="fp32", channels_last=False, phases=phases)
    one, two = ([share for name, share in told[-15:] if name == which] for which in ("one", "two"))
    assert one == pytest.approx([n / 10 for n in range(10)]) and two == pytest.approx([n / 5 for n in range(5)])
