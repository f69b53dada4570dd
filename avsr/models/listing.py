"""The table of all systems, and the check that every configuration in the tree builds and trains."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from avsr.config import CONF, build, merge, read_yaml
from avsr.errors import AvsrError
from avsr.features.mel import bands
from avsr.models.gmac import multiply_adds
from avsr.models.registry import build_model
from avsr.models.systems import PRESETS, System, load_system, system_ids, training_conf
from avsr.training.conf import TrainConf, phase_options

EGS = Path(__file__).resolve().parents[2] / "egs"  # recipes stand in the repository, not in an installed package
SECONDS = 3.0  # of input that the cost is counted on: a GRID clip
CHARACTERS = 15  # a second of speech, for the decoders of recognisers
WORD_FRAMES = 29  # LRW's clips
CLIPS = (11, 7)  # video frames of the two clips of a step
MEMORY = 4.0  # GB that a step may need, unless said otherwise
ADAM = 16  # bytes for each weight that learns: itself, its gradient, two moments; 4 for one that does not
# Bytes that a step keeps for the way back, for each video frame: 26 MB were measured for C3D-P3D50 (AE-MSR: 25), 19 for
# MT, 18 for L2L on complex spectra, 9 for VSE on pictures of 128 px, at most 4 for the others. By kind, or by type.
KEPT = {"lipread": 30e6, "enhance": 9e6, "recognise": 5e6, "joint": 5e6, "l2l_complex": 18e6}
COLUMNS = ("id", "printed name", "preset", "parameters", "GMAC/s", "row of the paper")
# What a wrong configuration or network can raise; the check goes on to the next.
BROKEN = (AvsrError, ArithmeticError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def table(presets: Sequence[str], only: Sequence[str] = ()) -> None:
    """Prints every system: parameters, and multiply-adds in 10^9 for a second of input, recurrent layers counted."""
    rows = [COLUMNS]
    for system in _systems(presets, only):
        with torch.random.fork_rng(devices=[]):
            model = build_model(system.model)
            parts = [(system.name, system.row, model, gmac_per_second(system, model))]
            if hasattr(model, "frontend"):  # without a back-end, as it stands frozen in front of the other systems
                cost = front_end_gmac(model.frontend)
                parts.append((f"{system.name}, front-end", system.row, model.frontend, cost))
        for name, row, part, cost in parts:
            rows.append((system.id, name, system.preset, f"{parameters(part):,}", f"{cost:.3f}", row))
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        left, numbers, right = row[:3], row[3:5], row[5:]
        cells = [cell.ljust(width) for cell, width in zip(left, widths[:3], strict=True)]
        cells += [cell.rjust(width) for cell, width in zip(numbers, widths[3:5], strict=True)]
        print("  ".join([*cells, *right]))
    print(f"\nGMAC/s: 10^9 multiply-adds a second of input, counted on {SECONDS:g} s (words: {WORD_FRAMES} frames);")
    print(f"recognisers write {CHARACTERS} characters a second, one hypothesis.")


def gmac_per_second(system: System, model: nn.Module) -> float:
    """10^9 multiply-adds for a second of input."""
    frames = WORD_FRAMES if system.kind == "lipread" else round(25 * SECONDS)
    characters = round(CHARACTERS * frames / 25)
    batch = random_batch([frames], [characters], heard_bands(model))
    if system.kind == "enhance":
        cost = multiply_adds(model, lambda: model.estimate(batch["noisy_mel"], _video(model, batch), batch["frames"]))
    else:
        cost = multiply_adds(model, lambda: training_loss(system, model, batch))
    return cost / 1e9 / (frames / 25)


def front_end_gmac(frontend: nn.Module) -> float:
    """10^9 multiply-adds of a lip-reading front-end alone for a second of pictures."""
    batch = random_batch([WORD_FRAMES], [1])
    cost = multiply_adds(frontend, lambda: frontend(batch["crop112"], batch["frames"]))
    return cost / 1e9 / (WORD_FRAMES / 25)


def heard_bands(model: nn.Module) -> int:
    """Of the sound that a network hears; of one that hears nothing the usual number."""
    return bands(getattr(model, "mel_set", "mel_htk"))


def random_batch(frames: Sequence[int], characters: Sequence[int], mels: int = 80) -> dict[str, Tensor]:
    """A batch as the loaders make it, of random contents."""
    batch, longest = len(frames), max(frames)
    clean_btf = torch.rand(batch, 4 * longest, mels)
    return {
        "frames": torch.tensor(frames),
        "clean_mel": clean_btf,
        "noisy_mel": clean_btf + torch.rand_like(clean_btf),
        "crop80": torch.randint(0, 256, (batch, longest, 80, 80), dtype=torch.uint8),
        "crop112": torch.randint(0, 256, (batch, longest, 112, 112), dtype=torch.uint8),
        "crop128": torch.randint(0, 256, (batch, longest, 128, 128), dtype=torch.uint8),
        "feats": torch.randn(batch, longest, 512),
        "tokens": torch.randint(3, 30, (batch, max(characters))),
        "token_lengths": torch.tensor(characters),
        "label": torch.zeros(batch, dtype=torch.long),
    }


def training_loss(system: System, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """The mean loss of a batch, as the trainer would compute it."""
    if system.kind == "lipread":
        total, count = model.loss(batch["crop112"], batch["frames"], batch["label"], model.final_head)
    elif system.kind == "enhance":
        total, count = model.loss(batch["noisy_mel"], batch["clean_mel"], _video(model, batch), batch["frames"])
    else:
        mel = batch["noisy_mel"] if model.audio_input else None
        total, count = model.loss(mel, _video(model, batch), batch["frames"], batch["tokens"], batch["token_lengths"])
    return total / count


def step_gigabytes(system: System) -> float:
    """Memory of one step of `step`, in GB: from the network's weights and the frames of the two clips, as a bound."""
    model = build_meta(system)
    learnt = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kept = KEPT.get(system.model["type"], KEPT[system.kind])
    return (ADAM * learnt + 4 * (parameters(model) - learnt) + kept * sum(CLIPS)) / 1e9


def step(system: System, memory: float = MEMORY) -> str:
    """Builds a system and makes one training step on random data; what to say about it. Raises what goes wrong.

    memory: GB that it may need; a system that needs more is built without weights, for its number of parameters.
    """
    needed = step_gigabytes(system)
    if needed > memory:
        return f"{parameters(build_meta(system)):,} parameters, no step: needs {needed:.1f} GB, limit {memory:g} GB"
    started = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = build_model(system.model)
        batch = random_batch(CLIPS, [6, 4], heard_bands(model))
        if hasattr(model, "fit_statistics"):
            model.fit_statistics([batch])
        optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-3)
        before = training_loss(system, model.train(), batch)
        before.backward()
        optimiser.step()
        with torch.no_grad():
            after = training_loss(system, model, batch)
    if not (torch.isfinite(before) and torch.isfinite(after)):
        raise ValueError("the loss is not finite")
    seconds = time.monotonic() - started
    return f"{parameters(model):,} parameters, loss {before.item():.3f} -> {after.item():.3f}, {seconds:.1f} s"


def check(only: Sequence[str] = (), memory: float = MEMORY) -> int:
    """Builds and steps every system in every preset and builds every training protocol, one line each; 1 if any fails.

    memory: GB that a step may need; what needs more is built only.
    """
    failed = 0
    for name in only or system_ids():
        for preset in reversed(PRESETS):
            failed += _report(f"{name} {preset}", lambda n=name, p=preset: step(load_system(n, p), memory))
        failed += _report(f"{name} training", lambda n=name: _training(load_system(n, "tiny")))
    if not only:
        for path in sorted((CONF / "training").glob("*.yaml")):
            failed += _report(str(path.relative_to(CONF.parent)), lambda p=path: _protocol(p))
        for path in sorted(EGS.glob("*/conf/*.yaml")):
            failed += _report(str(path.relative_to(EGS.parent)), lambda p=path: _recipe(p))
    print(f"{failed} failed" if failed else "all configurations build")
    return 1 if failed else 0


def _report(what: str, action: Callable[[], str]) -> int:
    try:
        said = action()
    except BROKEN as error:
        print(f"FAILED  {what}: {type(error).__name__}: {' '.join(str(error).split())}", flush=True)
        return 1
    print(f"ok      {what}: {said}", flush=True)
    return 0


def _training(system: System) -> str:
    conf = training_conf(system)
    for phase in conf.all_phases():
        phase_options(system.kind, phase)
    return f"{system.training}: {', '.join(phase.name for phase in conf.all_phases())}"


def _protocol(path: Path) -> str:
    conf = build(TrainConf, read_yaml(path), path.name)
    return ", ".join(phase.name for phase in conf.all_phases())


def _recipe(path: Path) -> str:
    """The systems and the training overrides that a recipe's preset names, over the recipe's own defaults."""
    defaults = path.parent / "recipe.yaml"
    data = merge(read_yaml(defaults) if defaults.is_file() else {}, read_yaml(path))
    named, trained = [], []
    for stage in ("pretrain", "enhance", "recognise", "joint"):
        section = data.get(stage) or {}
        variants = section.get("variants", {})
        for name in section.get("systems", ()):
            system = load_system(name, section.get("preset", "base"), (), variants)
            build_meta(system)
            _training(system)
            named.append(name)
        train = section.get("train", {})
        for name, overrides in train.items():
            if name in system_ids(variants):
                conf = training_conf(load_system(name, "tiny", (), variants), train)
            else:
                file = CONF / "training" / f"{name}.yaml"
                conf = build(TrainConf, merge(read_yaml(file), overrides), f"{path.name}: {stage}.train.{name}")
            for phase in conf.all_phases():
                phase_options("lipread" if stage == "pretrain" else stage, phase)
            trained.append(name)
    return f"{len(named)} systems; training of {', '.join(trained) or 'none'} overridden"


def build_meta(system: System) -> nn.Module:
    """The network without weights: its shapes only, since one of paper size takes seconds to initialise."""
    with torch.device("meta"):
        return build_model(system.model)


def _systems(presets: Sequence[str], only: Sequence[str]) -> Iterator[System]:
    for name in only or system_ids():
        for preset in presets:
            yield load_system(name, preset)


def _video(model: nn.Module, batch: dict[str, Tensor]) -> Tensor | None:
    return batch[model.video_input] if model.video_input else None
