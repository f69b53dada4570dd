"""What the presets of the recipes ask for, read as the stages read them; nothing is trained here."""

import pytest

from avsr.config import load_section, read_yaml
from avsr.models.registry import video_of
from avsr.models.systems import FOLDER, load_system
from avsr.scoring.checks import read_rules
from avsr.scoring.claims import read_claims
from avsr.stages.crop import CropConf
from avsr.stages.extract import ExtractConf
from avsr.stages.mix import MixConf
from avsr.stages.prepare_readers import PrepareConf
from avsr.stages.pretrain import PretrainConf
from avsr.stages.score import ScoreConf
from avsr.stages.score_report import CHECKS
from avsr.stages.train_system import STAGES, TrainStageConf, load_with_parts, noise_conf, seed_counts, train_conf
from tests.test_robustness_page import ROOT

PRESETS = sorted(
    (path.parent.parent.name, path.stem) for path in ROOT.glob("egs/*/conf/*.yaml") if path.stem != "recipe"
)
ABLATIONS = ["mhca_avcrn_wo_2stage", "mhca_avcrn_wo_balancing", "mhca_avcrn_wo_filtering"]
# Tables 1 and 2 of MHCA-AVCRN, its Table 3 and the forms of its skip connection
TABLES = {"audio_only_crn", "vse", "av_se2", "av_se2_late", "mhca_avcrn", *ABLATIONS}
TABLES |= {"mhca_avcrn_gate", "mhca_avcrn_gate_concat", "dl_avse", "ova", "l2l"}
TABLES |= {"mhca_avcrn_gate_wo_balancing", "mhca_avcrn_gate_wo_filtering"}  # Table 2 as its figure shows the block
OTHERS = {"prepare": PrepareConf, "crop": CropConf, "extract": ExtractConf, "mix": MixConf, "pretrain": PretrainConf}


def section(recipe, preset, name, cls=TrainStageConf):
    folder = ROOT / "egs" / recipe / "conf"
    return load_section(cls, [folder / "recipe.yaml", folder / f"{preset}.yaml"], name)


def sections(recipe, preset):
    return {name: section(recipe, preset, name) for name in STAGES}


def read_system(name):
    path = FOLDER / f"{name}.yaml"
    return read_yaml(path) if path.exists() else {}


@pytest.mark.parametrize("recipe, preset", PRESETS)
def test_every_preset_resolves_to_trainings(recipe, preset):
    """Every section, every system in its size with its training and its noise, the parts that they are made from, and
    what stage 9 asks of them."""
    for name, cls in OTHERS.items():
        section(recipe, preset, name, cls)
    trained, listed = sections(recipe, preset), set()
    for kind, conf in trained.items():
        listed |= {*conf.systems}
        assert len({*conf.systems}) == len(conf.systems)
        for name in conf.systems:
            system = conf.load(name)
            assert system.kind == kind
            train_conf(system, conf, 0), noise_conf(system, conf)
        assert {*conf.seeds_of} <= {*conf.systems}
    parts = {part for name in listed for part in load_with_parts(name, trained)[1]}
    extended = {said.get("extends") for said in map(read_system, parts)}
    assert all({*conf.variants} <= {*conf.systems} | parts | extended for conf in trained.values())
    if preset != "smoke":  # there a part may be trained without a row of its own
        assert parts <= listed
    assert {*seed_counts(trained)} == listed | parts
    score = section(recipe, preset, "score", ScoreConf)
    assert {*score.differences} <= listed and all(read_claims(name) for name in score.claims)
    assert score.checks is None or read_rules(CHECKS / f"{score.checks}.yaml")
    assert score.checks or preset in ("study", "study_skip", "candidates", "pilot", "tiny", "faithful")


@pytest.mark.parametrize("recipe, preset", PRESETS)
def test_stage_2_cuts_the_pictures_that_stage_6_asks_for(recipe, preset):
    conf, stores = section(recipe, preset, "enhance"), section(recipe, preset, "crop", CropConf).stores
    seen = {video_of(conf.load(name).model) for name in conf.systems}
    assert {video for video in seen if video and video.startswith("crop")} <= {*stores}


def test_every_system_as_its_own_publication_has_it_is_in_the_preset_faithful():
    published = {path.stem for path in FOLDER.glob("*_faithful.yaml")}
    assert {*section("grid", "faithful", "enhance").systems} == published and len(published) == 7


@pytest.mark.parametrize(
    "recipe, preset",
    [*(("grid", name) for name in ("quick", "small", "base", "gt")), ("tcd_timit", "base"), ("tcd_timit", "mini")],
)
def test_every_preset_for_the_tables_has_every_row_and_judges_the_claims(recipe, preset):
    assert {*section(recipe, preset, "enhance").systems} >= TABLES
    assert section(recipe, preset, "score", ScoreConf).claims == ("mhca_avcrn",)


@pytest.mark.parametrize("preset", ["base", "mini"])
def test_tcd_timit_is_asked_of_its_own_rows_and_not_for_words(preset):
    conf = section("tcd_timit", preset, "score", ScoreConf)
    rows = {name for one in sections("tcd_timit", preset).values() for name in one.systems}
    rows |= {"unprocessed", *(f"{name}+shuffled" for name in conf.shuffled)}
    rules = read_rules(CHECKS / f"{conf.checks}.yaml")
    asked = {side[0] for rule in rules for side in (rule.left, rule.right) if isinstance(side, tuple)}
    assert conf.checks == "tcd_timit" and asked <= rows
    assert not [rule.text for rule in rules if "WER" in rule.text]
    assert {name for name in rows if name.startswith("tm_")}  # both recognisers of the paper have a row


def test_grid_s_rows_stand_in_one_place_but_where_some_are_left_out():
    rows = section("grid", "quick", "enhance").systems
    assert rows == section("grid", "small", "enhance").systems == section("grid", "base", "enhance").systems
    for preset in ("quick", "small", "base"):
        assert "systems" not in read_yaml(ROOT / f"egs/grid/conf/{preset}.yaml")["enhance"]
    gt = section("grid", "gt", "enhance").systems
    assert gt == tuple(name for name in rows if name != "ae_tcn")  # it sees with a front-end, and GT has none


@pytest.mark.parametrize("preset, size", [("small", "small"), ("base", "base"), ("gt", "base")])
def test_the_proposed_system_and_its_ablations_have_three_trainings(preset, size):
    conf = section("grid", preset, "enhance")
    counts = seed_counts(sections("grid", preset))
    assert conf.preset == size
    proposed = {"mhca_avcrn", "mhca_avcrn_gate", *ABLATIONS}
    assert {name for name, count in counts.items() if count == 3} == proposed
    assert {count for name, count in counts.items() if name not in proposed} == {1}


def test_heads_and_talkers_of_two_systems():
    conf = section("grid", "heads", "enhance")
    read = {name: conf.load(name) for name in conf.systems}
    asked = {
        (system.model["type"], system.model["head"], noise_conf(system, conf).p_speech) for system in read.values()
    }
    changed = [("mask", 0.3), ("direct", 0.3), ("residual", 0.3), ("mask", 0.0)]
    assert asked == {(name, *one) for name in ("mhca_avcrn", "audio_only_crn") for one in changed}
    assert len(read) == 8


@pytest.mark.parametrize("name", ["mhca_avcrn", "audio_only_crn"])
def test_the_head_study_takes_the_trainings_of_quick(name):
    """Its two systems as they are; the work folder's mixtures are the same too."""
    quick, heads = section("grid", "quick", "enhance"), section("grid", "heads", "enhance")
    system = load_system(name, "small")
    assert heads.load(name) == quick.load(name) == system
    assert train_conf(system, heads, 0) == train_conf(system, quick, 0)
    assert noise_conf(system, heads) == noise_conf(system, quick)
    assert section("grid", "heads", "mix", MixConf) == section("grid", "quick", "mix", MixConf)
