"""Systems from YAML, their networks, the listing and the check."""

import re
import subprocess
import sys

import pytest
import torch

from avsr.config import read_yaml
from avsr.errors import UsageError
from avsr.models import listing
from avsr.models.__main__ import main
from avsr.models.registry import build_model
from avsr.models.systems import PRESETS, load_system, system_ids, training_conf

AVSE = (
    "audio_only_crn",
    "audio_only_crn_faithful",
    "mhca_avcrn",
    "mhca_avcrn_wo_balancing",
    "mhca_avcrn_wo_filtering",
    "mhca_avcrn_wo_2stage",
    "mhca_avcrn_gate",
    "mhca_avcrn_gate_wo_balancing",
    "mhca_avcrn_gate_wo_filtering",
    "mhca_avcrn_gate_concat",
    "mhca_avcrn_faithful",
    "vse",
    "vse_faithful",
    "av_se2",
    "av_se2_late",
    "av_se2_faithful",
    "dl_avse",
    "dl_avse_faithful",
    "ova",
    "ova_faithful",
    "l2l",
    "l2l_faithful",
)
# whose base size steps in 0.35 GB
SMALLER = ("audio_only_crn", "av_se2", "av_se2_late", "av_se2_faithful", "ova", "ova_faithful", "l2l")


def write(folder, name, text):
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def own(folder):
    """The systems that the files of a folder describe, as a recipe would under `variants:`."""
    return {path.stem: read_yaml(path) for path in sorted(folder.glob("*.yaml"))}


def test_every_system_has_every_preset_and_a_protocol():
    ids = system_ids()
    assert set(AVSE) <= set(ids)
    for name in ids:
        for preset in PRESETS:
            system = load_system(name, preset)
            assert system.id == name and system.name and system.row and system.model["type"]
        assert training_conf(system).all_phases()


def test_an_ablation_extends_the_full_system():
    full, part = load_system("mhca_avcrn", "small"), load_system("mhca_avcrn_wo_2stage", "small")
    assert part.model == full.model | {"balancing": False, "filtering": False}
    assert part.name != full.name and part.training == full.training


def test_what_is_printed_of_the_block_has_systems_of_its_own():
    """The figure's single output and its two ablations; the equations' single head, without scale and residual."""
    gate, literal = load_system("mhca_avcrn_gate"), load_system("mhca_avcrn_faithful")
    assert gate.model == load_system("mhca_avcrn").model | {"mhca_skip": "gate"}
    for part in ("balancing", "filtering"):
        assert load_system(f"mhca_avcrn_gate_wo_{part}").model == gate.model | {part: False}
    conf = build_model(load_system("mhca_avcrn_faithful", "tiny").model).conf
    found = (conf.mhca_skip, conf.head, conf.heads, conf.scale, conf.residual)
    assert found == ("gate", "direct", 1, False, False) and literal.training == gate.training


def test_presets_and_sets():
    assert load_system("mhca_avcrn", "tiny").model["lstm"] == 64
    system = load_system("mhca_avcrn", "tiny", ["model.lstm=8", "model.heads=1", "train.lr=1e-3", "train.batch=4"])
    assert (system.model["lstm"], system.model["heads"]) == (8, 1)
    assert (training_conf(system).lr, training_conf(system).batch) == (1e-3, 4)
    model = build_model(system.model)
    assert model.lstm.hidden_size == 8 and model.conf.heads == 1


def test_a_joint_system_holds_its_parts(tmp_path):
    write(tmp_path, "ae_x", "{name: X, kind: enhance, model: {type: ae}, presets: {base: {}, tiny: {hidden: 40}}}")
    write(tmp_path, "eg_x", "{name: Y, kind: recognise, model: {type: eg_seq2seq}, presets: {tiny: {conv: 64}}}")
    write(tmp_path, "both", "{name: XY, kind: joint, enhancer: ae_x, recogniser: eg_x, training: joint}")
    system = load_system("both", "tiny", ["model.recogniser.units=32"], own(tmp_path))
    assert system.model == {
        "type": "joint",
        "enhancer": {"type": "ae", "hidden": 40},
        "recogniser": {"type": "eg_seq2seq", "conv": 64, "units": 32},
    }
    model = build_model(system.model)
    assert model.recogniser.conf.units == 32 and not any(p.requires_grad for p in model.enhancer.parameters())
    with pytest.raises(UsageError, match="eg_x: no preset 'base'"):
        load_system("both", "base", (), own(tmp_path))


def test_a_recipe_overrides_a_system(tmp_path):
    write(tmp_path, "mhca_avcrn", "{name: Ours, kind: enhance, model: {type: mhca_avcrn}, presets: {tiny: {lstm: 9}}}")
    assert load_system("mhca_avcrn", "tiny", (), own(tmp_path)).model == {"type": "mhca_avcrn", "lstm": 9}
    parent_in_there = load_system("mhca_avcrn_wo_2stage", "tiny", (), own(tmp_path))
    assert parent_in_there.model["lstm"] == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{extends: nothing_like_it}", "no system 'nothing_like_it'"),
        ("{extends: bad}", "extends itself"),
        ("{name: B, kind: enhance, model: {type: ae}, colour: red}", "unknown key 'colour'"),
        ("{name: B, kind: enhancer, model: {type: ae}}", "'enhancer' is none of"),
        ("{name: B, kind: enhance}", "model.*type"),
        ("{name: B, kind: enhance, model: {type: mhca}}", "no model type 'mhca'"),
        ("{name: B, kind: enhance, model: {type: mhca_avcrn, hed: mask}}", "unknown key 'hed'; did you mean 'head'"),
        ("{name: B, kind: enhance, model: {type: mhca_avcrn, heads: 1.5}}", "heads: must be a whole number"),
        ("{name: B, kind: enhance, model: {type: mhca_avcrn, head: softmax}}", "'softmax' is none of"),
        ("{name: B, kind: enhance, model: {type: mhca_avcrn, channels: [1, 2]}}", "must have 5 values"),
        ("{name: B, kind: enhance, model: {type: mhca_avcrn}, presets: {tiny: 3}}", "presets must be"),
        ("{name: B, kind: enhance, model: {type: mhca_avcrn}, presets: {huge: {}}}", "no preset 'tiny'"),
        ("{name: B, kind: joint, enhancer: ae_tcn}", "names its 'recogniser'"),
        ("[1, 2]", "must be a mapping"),
        ("{name: B", "not valid YAML"),
    ],
)
def test_what_is_wrong_with_a_system_is_said_in_one_line(tmp_path, text, message):
    write(tmp_path, "bad", text)
    with pytest.raises(UsageError, match=message) as caught:
        build_model(load_system("bad", "tiny", (), own(tmp_path)).model)
    assert "\n" not in str(caught.value)


def test_unknown_ids_and_sets():
    with pytest.raises(UsageError, match="no system 'mhca_avcn'; near names: mhca_avcrn"):
        load_system("mhca_avcn")
    with pytest.raises(UsageError, match="--set modl.heads=1: a system's keys start with model, train"):
        load_system("mhca_avcrn", "tiny", ["modl.heads=1"])


@pytest.mark.parametrize("preset", ["small", "tiny"])
def test_small_and_tiny_cost_as_much_as_the_proposed_system(preset):
    """design: the compared systems within 20 % of MHCA-AVCRN in multiply-adds."""
    names = [name for name in AVSE if not name.startswith("mhca_avcrn_")]
    systems = {name: load_system(name, preset) for name in names}
    costs = {name: listing.gmac_per_second(system, build_model(system.model)) for name, system in systems.items()}
    for name, cost in costs.items():
        assert abs(cost / costs["mhca_avcrn"] - 1) < 0.2, name


def test_table(capsys):
    only = ["--only=mhca_avcrn", "--only=mhca_avcrn_gate", "--only=audio_only_crn"]
    assert main(["--preset", "all", *only]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["mhca_avcrn_gate", "MHCA-AVCRN", "(gate)", "base", "20,730,123", "2.730"] in [row[:6] for row in rows]
    assert ["mhca_avcrn", "MHCA-AVCRN", "base", "21,283,659", "2.824"] in [row[:5] for row in rows]
    assert [row[3] for row in rows if row[:1] == ["audio_only_crn"]] == ["base", "small", "tiny"]
    assert [row[2] for row in rows if row[:1] == ["mhca_avcrn"]] == ["base", "small", "tiny"]


def test_table_lists_the_front_end_without_a_back_end(capsys):
    assert main(["--only", "p3d50"]) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows if row[0] == "p3d50"]
    assert [row[1:4] for row in cells] == [
        ["C3D-P3D50", "base", "29,647,912"],
        ["C3D-P3D50, front-end", "base", "25,980,992"],
    ]
    both, alone = (float(row[4]) for row in cells)
    assert alone == pytest.approx(58.3 / 2, rel=0.01)  # spec: 58.3 GFLOP a second, two for a multiply-add
    assert 0 < both - alone < 0.1  # two BiLSTM layers and a linear one


def test_table_of_an_unknown_system(capsys):
    assert main(["--only", "mhca_avcn"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


PRINTED = {  # as specified: integers, or millions with the digits that stand there
    "audio_only_crn": 10.24,
    "audio_only_crn_faithful": 17.58,
    "vse": 18.63,
    "vse_faithful": 18.63,
    "av_se2": 5.43,
    "dl_avse": 18.86,
    "dl_avse_faithful": 28.94,
    "ova": 5.95,
    "l2l": 10.7,
    "ae_1drn": "56,445,632",
    "ae_tcn": "19,504,512",
    "eg_av": "14,507,561",
    "eg_a": 12.26,
    "eg_v": 2.28,
    "eg_large_av": 48.3,
    "tm_av": "75,860,521",
    "tm_a": 44.34,
    "tm_v": 44.18,
}


def test_table_has_the_printed_numbers_of_parameters(monkeypatch, capsys):
    def without_weights(model):
        with torch.device("meta"):
            return build_model(model)

    monkeypatch.setattr(listing, "build_model", without_weights)
    monkeypatch.setattr(listing, "gmac_per_second", lambda system, model: 0.0)
    assert main([word for name in PRINTED for word in ("--only", name)]) == 0
    cells = {
        line.split()[0]: line.split("base")[1].split()[0]
        for line in capsys.readouterr().out.splitlines()[1 : 1 + len(PRINTED)]
    }
    assert set(cells) == set(PRINTED)
    for name, number in PRINTED.items():
        if isinstance(number, str):
            assert cells[name] == number
        else:
            digits = len(str(number).split(".")[1])
            assert round(int(cells[name].replace(",", "")) / 1e6, digits) == number


@pytest.mark.parametrize("name", AVSE)
def test_check_builds_and_steps(name, capsys):
    assert main(["--check", "--only", name, "--memory", "0.35"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out] == ["ok"] * 4 + ["all"]
    assert ["loss" in line for line in out] == [True, True, name in SMALLER, False, False]


@pytest.mark.parametrize("name", ["eg_v", "ae_tcn"])
def test_check_steps_the_base_size(name, capsys):
    assert main(["--check", "--only", name]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if f" {name} base:" in line)
    size = sum(p.numel() for p in listing.build_meta(load_system(name)).parameters())
    before, after = re.fullmatch(rf"ok .*: {size:,} parameters, loss (\S+) -> (\S+), \d+\.\d s", line).groups()
    assert before != after


def test_check_says_what_needs_more_memory_than_there_is(capsys):
    # 16 bytes for each of 12,258,857 weights that learn, 4 for each of 19,504,512 that do not, 18 frames of 5 MB
    assert main(["--check", "--only", "eg_va_tcn", "--memory", "0.3"]) == 0
    said = capsys.readouterr().out.splitlines()[2]
    assert said == "ok      eg_va_tcn base: 31,763,369 parameters, no step: needs 0.4 GB, limit 0.3 GB"
    assert listing.step_gigabytes(load_system("eg_va_tcn")) == pytest.approx(
        (16 * 12_258_857 + 4 * 19_504_512) / 1e9 + 18 * 0.005
    )
    with pytest.raises(SystemExit, match="2"):
        main(["--check", "--memory", "-1"])


def test_check_reports_what_is_broken_and_goes_on(tmp_path, monkeypatch, capsys):
    write(tmp_path, "aa_bad", "{extends: audio_only_crn, model: {hed: mask}}")
    write(tmp_path, "zz_good", "{extends: audio_only_crn}")
    monkeypatch.setattr(listing, "load_system", lambda name, preset: load_system(name, preset, (), own(tmp_path)))
    assert listing.check(["aa_bad", "zz_good"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out] == ["FAILED"] * 3 + ["ok"] * 5 + ["3"]
    assert "did you mean 'head'" in out[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("enhance: {systems: [mhca_avcn]}", "near names: mhca_avcrn"),
        ("enhance: {systems: [a], variants: {a: {extends: mhca_avcrn, model: {hed: 1}}}}", "did you mean 'head'"),
        ("enhance: {train: {avse: {lrr: 1}}}", "enhance.train.avse: unknown key 'lrr'"),
        ("enhance: {train: {avsr: {lr: 1}}}", "avsr.yaml: there is no such"),
        ("pretrain: {train: {words: {phases: [{name: a, options: {head: x}}]}}}", "phase a: options.head: 'x' is none"),
    ],
)
def test_check_reads_recipes(tmp_path, monkeypatch, capsys, text, message):
    folder = tmp_path / "egs" / "x" / "conf"
    folder.mkdir(parents=True)
    write(folder, "recipe", "enhance: {preset: tiny, systems: [mhca_avcrn]}")
    write(folder, "wrong", text)
    monkeypatch.setattr(listing, "EGS", tmp_path / "egs")
    monkeypatch.setattr(listing, "system_ids", lambda variants=(): [])
    assert listing.check() == 1
    lines = capsys.readouterr().out.splitlines()
    assert "ok      egs/x/conf/recipe.yaml: 1 systems; training of none overridden" in lines
    assert [message in line for line in lines if line.startswith("FAILED")] == [True]


@pytest.mark.parametrize("path", sorted(listing.EGS.glob("*/conf/*.yaml")), ids=lambda path: path.parts[-3] + path.stem)
def test_every_recipe_names_systems_and_training_that_there_are(path):
    systems, training = listing._recipe(path).split("; ")
    assert int(systems.split()[0]) > 0 and training.endswith(" overridden")


def test_check_reads_what_a_recipe_sets_for_one_system(tmp_path):
    write(tmp_path, "good", "recognise: {train: {recogniser: {batch: 8}, eg_av: {lr: 1e-3, phases: [{name: fuse}]}}}")
    assert listing._recipe(tmp_path / "good.yaml") == "0 systems; training of recogniser, eg_av overridden"
    write(tmp_path, "bad", "recognise: {train: {eg_av: {lrr: 1e-3}}}")
    with pytest.raises(UsageError, match="system eg_av: recogniser.yaml: unknown key 'lrr'"):
        listing._recipe(tmp_path / "bad.yaml")


def test_systems_are_read_without_torch():
    code = "import sys, avsr.models.systems as s; s.load_system('mhca_avcrn'); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "False"
