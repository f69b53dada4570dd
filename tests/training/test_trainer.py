"""What the trainer does besides going on: selection, curriculum, budgets, troubles."""

import csv
import json

import pytest
import torch

from avsr.errors import AvsrError, UsageError
from avsr.training.folder import RunFolder
from avsr.training.report import MAX_SKIPPED
from tests.training.toy import ToyExamples, ToyModel, ToyTask, run_toy


def valid(out):
    with open(out / "log.csv", newline="") as file:
        return [float(row["valid"]) for row in csv.DictReader(file) if row["valid"]]


def stored(out, name="best.pt"):
    return torch.load(out / name, weights_only=True)


def newest(out):
    return sorted(path.name for path in out.glob("checkpoint-*.pt"))[-1]


def test_it_learns_and_keeps_the_best_of_validation(tmp_path):
    best = run_toy(tmp_path, epochs=8, lr=0.05)
    values = valid(tmp_path)
    assert values[-1] < 0.5 * values[0]
    content = stored(tmp_path)
    assert best == tmp_path / "best.pt" and content["position"]["best"] == min(values)
    assert content["valid"]["loss"] == min(values)
    model = ToyModel()
    model.load_state_dict(content["model"])
    model.eval()
    task, total, count = ToyTask(), 0.0, 0.0
    for i in range(10):  # one by one: a mean over cells, not over batches
        batch_sum, batch_count, _ = task.loss(model, task.collate([ToyExamples("v", 10)[i]]), None)
        total, count = total + float(batch_sum.detach()), count + float(batch_count)
    assert total / count == pytest.approx(min(values), rel=1e-3)  # the toy feels padding a little


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_steps_are_those_of_a_plain_optimiser_with_clipping(tmp_path, name):
    """Against a loop written out here, on the same batches."""
    from avsr.training.trainer import seed_torch

    class NoDropout(ToyTask):
        def examples(self, phase, epoch):
            return ToyExamples("t", 8)

        def prepare(self, model):
            model.front[3].p = 0.0

    options = {"optimiser": name, "momentum": 0.8}
    run_toy(tmp_path, NoDropout(), epochs=4, lr=0.02, clip_norm=0.1, weight_decay=0.01, max_padding=None, **options)
    seed_torch(1)
    model, task = ToyModel(), NoDropout()
    task.prepare(model)
    weights = list(model.parameters())
    if name == "adam":
        optimiser = torch.optim.Adam(weights, 0.02, weight_decay=0.01)
    else:
        optimiser = torch.optim.SGD(weights, 0.02, momentum=0.8, weight_decay=0.01)
    losses = []
    for _ in range(4):
        batch = task.collate([ToyExamples("t", 8)[i] for i in range(8)])
        total, count, _ = task.loss(model, batch, None)
        optimiser.zero_grad()
        (total / count).backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in model.parameters()))
        for p in model.parameters():
            p.grad *= 0.1 / max(float(norm), 0.1)
        optimiser.step()
        losses.append(float((total / count).detach()))
    with open(tmp_path / "log.csv", newline="") as file:
        logged = [float(row["train_loss"]) for row in csv.DictReader(file) if not row["valid"]]
    assert logged == pytest.approx(losses, rel=1e-4)


def test_early_stopping_counts_epochs_without_gain(tmp_path):
    class Worse(ToyTask):
        calls = 0

        def validate(self, model, batches, phase):
            self.calls += 1
            return {"loss": 1.0, "wer": [50.0, 40.0, 45.0, 40.0, 41.0, 30.0][self.calls - 1]}

    run_toy(tmp_path, Worse(), epochs=6, metric="wer", stop_after=3)
    assert valid(tmp_path) == [50.0, 40.0, 45.0, 40.0, 41.0] and stored(tmp_path)["position"]["epoch"] == 1
    run_toy(tmp_path / "max", Worse(), epochs=6, metric="wer", maximise=True, stop_after=3)
    assert valid(tmp_path / "max") == [50.0, 40.0, 45.0, 40.0]
    floor = {"kind": "plateau", "patience": 1, "floor": 0.005}
    run_toy(tmp_path / "floor", Worse(), epochs=6, metric="wer", stop_after=2, stop_at_floor=True, schedule=floor)
    assert valid(tmp_path / "floor") == [50.0, 40.0, 45.0, 40.0, 41.0]  # epoch 3 cuts to the floor, 4 and 5 count


def test_metric_that_validation_does_not_give(tmp_path):
    with pytest.raises(UsageError, match="metric 'wer': validation gives loss"):
        run_toy(tmp_path, metric="wer")


def test_validation_without_a_number_is_no_result(tmp_path):
    class Nothing(ToyTask):
        def validate(self, model, batches, phase):
            return {"loss": float("nan")}

    with pytest.raises(AvsrError, match="validation gave no number"):
        run_toy(tmp_path, Nothing(), epochs=2)


def test_validation_cannot_disturb_training(tmp_path):
    class Noisy(ToyTask):
        def validate(self, model, batches, phase):
            torch.rand(1000)
            return super().validate(model, batches, phase)

    run_toy(tmp_path / "a", Noisy())
    run_toy(tmp_path / "b", ToyTask())
    assert valid(tmp_path / "a") == valid(tmp_path / "b")


def test_frozen_modules_stay_as_they_are_and_bests_of_phases_are_kept(tmp_path):
    phases = [
        {"name": "head", "epochs": 1, "freeze": ["front"], "keep": True},
        {"name": "all", "epochs": 1, "init": "best"},
    ]
    run_toy(tmp_path, phases=phases)
    torch.manual_seed(0)
    first, second = stored(tmp_path, "best-head.pt"), stored(tmp_path)
    start = run_toy_weights()
    changed = {name for name in start if not torch.equal(start[name], first["model"][name])}
    assert not any(name.startswith("front.") for name in changed)  # batch norm statistics among them
    assert {"head.weight", "gru.weight_hh_l0", "mean"} <= changed
    assert not torch.equal(first["model"]["front.0.weight"], second["model"]["front.0.weight"])
    with pytest.raises(UsageError, match="no module 'frnt'; did you mean 'front'"):
        run_toy(tmp_path / "x", phases=[{"name": "p", "freeze": ["frnt"]}])


def run_toy_weights():
    from avsr.training.trainer import seed_torch

    seed_torch(1)
    return ToyModel().state_dict()


def test_budget_of_steps_ends_within_an_epoch_with_a_validation(tmp_path):
    run_toy(tmp_path, max_steps=7, epochs=50, schedule={"kind": "cosine"})
    assert stored(tmp_path, newest(tmp_path))["position"]["step"] == 7
    assert len(valid(tmp_path)) == 2
    with open(tmp_path / "log.csv", newline="") as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file) if not row["valid"]]
    assert rates[0] == 0.01 and rates[-1] < 0.001  # the cosine ends with the budget


def test_nan_loss_keeps_the_ids_and_stops_with_one_line(tmp_path):
    with pytest.raises(AvsrError) as error:
        run_toy(tmp_path, ToyTask(spoil="loss"))
    assert "\n" not in str(error.value) and "nan_batch.json" in str(error.value)
    batch = json.loads((tmp_path / "nan_batch.json").read_text())
    assert "t007" in batch["utts"] and len(batch["utts"]) == 8 and batch["epoch"] == 1
    assert stored(tmp_path, newest(tmp_path))["position"]["step"] <= batch["step"]


def test_gradients_that_are_not_finite_are_skipped_and_counted(tmp_path, caplog):
    run_toy(tmp_path, ToyTask(spoil="gradient"), epochs=3)
    content = stored(tmp_path, newest(tmp_path))
    assert content["position"]["skipped"] == 3  # t007 is seen once an epoch
    assert all(torch.isfinite(value).all() for value in content["model"].values())
    assert "the gradient is not finite" in caplog.text
    with open(tmp_path / "log.csv", newline="") as file:
        assert [row["skipped"] for row in csv.DictReader(file)][-1] == "3"


def test_too_many_skipped_steps_in_a_row_end_the_run(tmp_path):
    class Always(ToyTask):
        def examples(self, phase, epoch):
            return ToyExamples("t", 8)

    with pytest.raises(AvsrError, match=f"{MAX_SKIPPED} steps in a row"):
        run_toy(tmp_path, Always(spoil="gradient"), epochs=30, stop_after=None, max_padding=None)


def test_examples_are_drawn_anew_in_every_epoch_of_every_phase(tmp_path):
    class Noting(ToyTask):
        epochs: list[tuple[str, int]] = []

        def examples(self, phase, epoch):
            self.epochs.append((phase.name, epoch))
            return super().examples(phase, epoch)

    run_toy(tmp_path, Noting(), phases=[{"name": "a", "epochs": 2}, {"name": "b", "epochs": 3}], stop_after=None)
    assert sorted(set(Noting.epochs)) == [("a", 0), ("a", 1), ("b", 2), ("b", 3), ("b", 4)]


def test_a_loss_that_rises_in_a_later_phase_is_said(tmp_path, caplog):
    class Rising(ToyTask):
        def loss(self, model, batch, phase):
            total, count, logs = super().loss(model, batch, phase)
            return total + (len(self.seen) * count if phase.name == "b" else 0), count, logs

    phases = [{"name": "a", "epochs": 3}, {"name": "b", "epochs": 2}]
    run_toy(tmp_path, Rising(), phases=phases, stop_after=None, lr=0.05)
    assert "b: the training loss does not fall" in caplog.text and "a: the training loss" not in caplog.text


def test_a_loss_that_does_not_fall_is_said(tmp_path, caplog):
    class Rising(ToyTask):
        def loss(self, model, batch, phase):
            total, count, logs = super().loss(model, batch, phase)
            return total + len(self.seen) * count, count, logs

    run_toy(tmp_path / "good", epochs=3, lr=0.05)
    assert "does not fall" not in caplog.text
    run_toy(tmp_path / "bad", Rising(), epochs=3)
    assert "the training loss does not fall" in caplog.text
    assert "does not fall" in (tmp_path / "bad" / "train.log").read_text()


def test_virtual_epochs_walk_through_all_examples(tmp_path):
    task = ToyTask(count=20)
    run_toy(tmp_path, task, epochs=4, epoch_examples=15, batch=5)
    seen = [utt for utt in task.seen[10:]]  # the first are the trial batch, if any
    assert len(task.seen) == 60 and len(set(seen)) == 20
    assert all(task.seen.count(utt) == 3 for utt in set(task.seen))


def test_no_examples_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="phase train: there are no training examples"):
        run_toy(tmp_path, ToyTask(count=0))


def test_read_only_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AvsrError, match="cannot be written"):
        run_toy(tmp_path / "file" / "run")


def test_a_second_process_is_refused_while_one_trains(tmp_path, monkeypatch):
    monkeypatch.setattr("avsr.training.folder.LOCK_SECONDS", 0.2)

    class Nested(ToyTask):
        def prepare(self, model):
            with pytest.raises(AvsrError, match="another process is training here"):
                run_toy(tmp_path)

    run_toy(tmp_path, Nested(), epochs=1)


def test_tensorboard_events_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    run_toy(tmp_path, epochs=1, tensorboard=True)
    assert list((tmp_path / "tb").glob("events*"))


def test_precision_chosen_at_the_start_is_stored_and_does_not_touch_the_weights(tmp_path, caplog):
    caplog.set_level("INFO", "avsr")
    run_toy(tmp_path / "auto", epochs=1, precision="auto", channels_last="auto", workers="auto")
    assert "chosen" in caplog.text and "channels_last" in caplog.text
    chosen = stored(tmp_path / "auto")["precision"]
    run_toy(tmp_path / "set", epochs=1, precision=chosen["dtype"], channels_last=chosen["channels_last"])
    assert valid(tmp_path / "auto") == valid(tmp_path / "set")  # trial steps leave no trace
    assert RunFolder(tmp_path / "exp/a/seed0").agreed({"system": {"id": "a"}}, "cpu") is None
    made = RunFolder(tmp_path / "exp/a/seed0").agreed({"system": {"id": "a", "training": "avse"}}, "cpu")
    assert made == tmp_path / "exp/format_avse_cpu.json"


def test_running_statistics_take_the_share_of_a_batch_that_is_asked(tmp_path):
    """Two steps on the same whole batch: from (0, 1) the running mean comes so near to that of the batch."""

    class WholeBatch(ToyTask):
        def examples(self, phase, epoch):
            return ToyExamples("t", 8)

    means = []
    for share in (0.1, 0.5):
        run_toy(tmp_path / str(share), WholeBatch(), epochs=2, max_padding=None, norm_momentum=share, lr=1e-9)
        weights = torch.load(tmp_path / str(share) / "best.pt", weights_only=True)["model"]
        steps = int(weights["front.1.num_batches_tracked"])
        means.append(weights["front.1.running_mean"] / (1 - (1 - share) ** steps))
    torch.testing.assert_close(means[0], means[1])
    assert means[0].abs().min() > 1e-4
