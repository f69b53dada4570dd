"""The systems that come with the toolkit: small, safe to load, described, and taken where no checkpoint is named."""

import pytest
import torch

from avsr import enhance, recognise, shipped
from avsr.scoring.report import checkpoint_digest
from avsr.training import checkpoint, light
from tests.clips.test_enhance import noise
from tests.media.clips import face_clip, write_clip

BOTH = (shipped.ENHANCER, shipped.RECOGNISER)


@pytest.mark.parametrize("path", BOTH, ids=lambda path: path.stem)
def test_it_is_small_holds_weights_alone_and_its_card_names_it(path):
    assert path.stat().st_size < 1_000_000
    content = torch.load(path, weights_only=True)
    assert "optimiser" not in content and content["packed"]
    card = shipped.CARD.read_text()
    assert f"`{checkpoint_digest(path)}`" in card
    assert f"`{content['origin_of_weights']['checkpoint_digest']}`" in card
    for words in ("CC BY 4.0", "M. Cooke, J. Barker, S. Cunningham", "one man", "cannot"):
        assert words in card


def test_the_recogniser_has_its_front_end_inside_and_the_enhancer_sees_the_mouth():
    content = checkpoint.read(shipped.RECOGNISER)
    assert light.inside(content, shipped.RECOGNISER) is not None
    assert checkpoint.load_model(shipped.ENHANCER)[0].video_input == "crop80"


def test_the_commands_take_them_and_say_what_they_know(tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mkv", face_clip(25), sound=noise(1.0), rate=48000, sound_codec="flac")
    assert enhance.main([str(clip), f"--out={tmp_path}/clean.wav"]) == 0
    said = capsys.readouterr().err.splitlines()[0]
    assert said.startswith("no checkpoint was named") and "of one man (GRID s1)" in said and str(shipped.CARD) in said
    assert recognise.main([str(clip), "--beam=1"]) == 0
    assert "the sentences of GRID" in capsys.readouterr().err.splitlines()[0]
    assert recognise.main([str(clip), "--beam=1", f"--checkpoint={shipped.RECOGNISER}"]) == 0
    assert "no checkpoint" not in capsys.readouterr().err
