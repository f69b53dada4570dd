"""GRID's preset real_base, which nobody trains on a CPU: every system of it, in the papers' sizes, on two clips."""

import pytest
import yaml

from avsr.config import read_yaml
from avsr.models.systems import load_system
from avsr.scoring.results import read_csv
from tests.recipes.test_smoke import link_clips, run_with


@pytest.fixture(scope="module")
def work(root, tmp_path_factory, real_data):
    """The recipe's own commands, with the lengths of preset smoke: two clips a split, an epoch a phase."""
    folder = tmp_path_factory.mktemp("real_base")
    corpus = link_clips(real_data, folder / "grid")
    short = read_yaml(root / "egs/grid/conf/smoke.yaml")
    for name in ("pretrain", "enhance", "recognise", "joint"):
        short[name] = {key: value for key, value in short[name].items() if key not in ("preset", "systems")}
    short["prepare"] = {"train": 2, "valid": 2, "test": 2}
    seeds = read_yaml(root / "egs/grid/conf/real_base.yaml")["enhance"]["seeds_of"]
    short["enhance"]["seeds_of"] = dict.fromkeys(seeds, 1)
    (folder / "short.yaml").write_text(yaml.safe_dump(short))
    options = ["--recipe", "grid", "--protocol", "s1", "--preset", "real_base", "--nj", 1]
    folders = ["--corpus-dir", corpus, "--noise-dir", real_data / "noise", "--speech-dir", real_data / "speech"]
    run_with(root, folder / "short.yaml", *options, *folders, "--work-dir", folder / "work")
    return folder / "work"


@pytest.mark.slow
def test_every_system_of_real_base_has_a_row(root, work):
    preset = read_yaml(root / "egs/grid/conf/real_base.yaml")
    asked = {name for section in ("enhance", "recognise", "joint") for name in preset[section]["systems"]}
    rows = read_csv(work / "results.csv")
    assert asked <= {row["system"] for row in rows if row["value"]}
    assert {row["scored"] for row in rows if row["metric"] in ("stoi", "wer")} == {"2"}
    for name in asked:
        built = read_yaml(work / f"exp/{name}/seed0/config.yaml")["system"]["model"]
        assert load_system(name, "base").model.items() <= built.items(), name
