"""Captions of enhancement tables: heads, reconstruction, and whose estimates it cuts."""

import pytest
import torch

from avsr.models.registry import KINDS, loudest_mask, model_class, output_head
from avsr.models.systems import load_system, system_ids
from avsr.scoring.heads import head_note
from avsr.scoring.tables import System
from avsr.stages.score import table_rows

NOISY = System("unprocessed", "Unprocessed", "unprocessed")


def rows(*names):
    return [NOISY, *table_rows([load_system(name, "tiny") for name in names])]


def test_one_head_and_one_reconstruction():
    said = "Head of all systems: mask. Reconstruction of all rows (`score.recon`): gain."
    assert head_note(rows("audio_only_crn", "vse", "mhca_avcrn"), "gain") == said
    assert head_note([NOISY], "pinv") == "Reconstruction of all rows (`score.recon`): pinv."


def test_a_mask_that_may_amplify_is_named_where_the_reconstruction_may_not():
    compared = rows("mhca_avcrn", "dl_avse")
    cut = "so these are heard up to the level of the mixture: Deep-learning AV-SE (a mask of 0 to 10)."
    for recon, said in (("gain", True), ("capped", True), ("pinv", False), ("griffinlim", False)):
        assert head_note(compared, recon).endswith(cut) == said
        assert head_note(compared, recon).startswith("Head of all systems: mask. ")


def test_other_heads_are_named_and_so_is_a_wave():
    note = head_note(rows("mhca_avcrn", "vse_faithful", "l2l_faithful"), "gain")
    vse, l2l = (load_system(name, "tiny").name for name in ("vse_faithful", "l2l_faithful"))
    assert note.startswith(f"Heads: mask (MHCA-AVCRN); direct ({vse}); complex mask ({l2l}). Reconstruction")
    assert f"up to the level of the mixture: {vse} (head direct)." in note
    assert note.endswith(f"The estimate is a waveform already, and needs none: {l2l}.")


def test_the_head_of_a_checkpoint_scored_beside_is_not_guessed():
    other = System("vse@ab12", "VSE (checkpoint ab12)", "enhance", head="mask")
    note = head_note([other], "gain")
    assert note.startswith("Reconstruction") and "Rows with the digest of a checkpoint have the head of that" in note


@pytest.mark.parametrize("name", [name for name in system_ids() if load_system(name, "tiny").kind == "enhance"])
def test_what_is_read_without_the_network_is_what_the_network_has(name):
    model = load_system(name, "tiny").model
    assert KINDS[model["type"]] == "enhance"
    network = model_class(model["type"])
    if model["type"] in ("l2l_complex", "ae"):  # neither has a choice of heads
        assert (getattr(network, "mel_set", "") == "wave") == (output_head(model) == "complex mask")
        return
    assert output_head(model) == model.get("head", network.Conf.head)
    if output_head(model) == "mask":
        assert float(network._gain(None, torch.tensor(100.0))) == pytest.approx(loudest_mask(model))
