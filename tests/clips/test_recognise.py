"""A clip read: the text that stages 2, 3, 5 and 9 would write, what is done without lips, what is refused."""

import numpy as np
import pytest
import torch

from avsr import recognise
from avsr.clips.recognise import recognise as recognise_clip
from avsr.decoding.beam import decode
from avsr.features.mel import mel
from avsr.media.audio import read_sound
from avsr.media.crops import Cropper, CropShape
from avsr.media.landmarks import DetectConf, FaceFinder, detect
from avsr.media.video import read_frames
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.noise.mixing import LEVEL
from avsr.text import Characters
from avsr.training import checkpoint
from tests.clips.test_enhance import noise
from tests.media.clips import face_clip, write_clip

PICTURES = 30


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    """A work folder's exp/ with a front-end and recognisers, whose weights are as drawn."""
    folder = tmp_path_factory.mktemp("work") / "exp"
    for name in ("p3d50", "eg_a", "eg_v", "eg_av", "eg_vav_tcn", "mhca_avcrn"):
        torch.manual_seed(0)
        model = load_system(name, "tiny").model
        if name == "p3d50":
            model = model | {"classes": 4}
        path = folder / name / "seed0/best.pt"
        path.parent.mkdir(parents=True)
        content = {"system": name, "config": {"system": {"id": name, "model": model}}}
        checkpoint.save(path, content | {"model": build_model(model).state_dict()})
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mkv"
    return write_clip(path, face_clip(PICTURES), sound=noise(PICTURES / 25), rate=48000, sound_codec="flac")


def run(clip, path, *more) -> int:
    return recognise.main([str(clip), f"--checkpoint={path}", "--beam=2", *more])


@pytest.mark.parametrize("name", ["eg_a", "eg_v", "eg_av", "eg_vav_tcn"])
def test_the_text_is_that_of_the_stages(clip, exp, capsys, name):
    path = exp / name / "seed0/best.pt"
    model, _ = checkpoint.load_model(path)
    points_tpx, _ = detect(read_frames(clip), FaceFinder(), DetectConf(), "clip")
    cropper = Cropper(points_tpx, (CropShape(96.0, 112),))
    crops = np.stack([cropper.crop(k, picture)[0] for k, picture in enumerate(read_frames(clip))])
    front, _ = checkpoint.load_model(exp / "p3d50/seed0/best.pt")
    wave_n, _ = read_sound(clip)
    wave_n = wave_n * LEVEL / np.sqrt(np.mean(np.square(wave_n, dtype=np.float64)))
    with torch.inference_mode():
        feats = front.frontend(torch.from_numpy(crops)[None]) if model.video_input else None
        heard = torch.from_numpy(mel(wave_n.astype(np.float32), "mel_htk"))[None] if model.audio_input else None
        frames_b = torch.tensor([PICTURES])
        (ids,) = decode(model, model.encode(heard, feats, frames_b), frames_b, 2, 1.0)
    assert run(clip, path) == 0
    assert capsys.readouterr().out.rstrip("\n") == Characters().decode(ids).rstrip("\n")


def test_long_clips_have_a_line_a_part_and_the_first_is_drawn(exp, tmp_path, capsys):
    path = write_clip(tmp_path / "long.mkv", face_clip(25), sound=noise(10.0), rate=48000, sound_codec="flac")
    best = exp / "eg_av/seed0/best.pt"
    assert run(path, best, f"--show={tmp_path}/long.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("  0.00 ") and lines[1].split()[1] == "10.00"
    assert (tmp_path / "long.png").read_bytes()[:4] == b"\x89PNG"
    said = recognise_clip(path, checkpoint=best, beam=2)
    assert [(one.start, one.end) for one in said] == [(0.0, said[1].start), (said[0].end, 10.0)]
    assert run(path, best, f"--show={tmp_path}/long.png") == 2
    assert "is there already" in capsys.readouterr().err


def test_without_a_face_it_hears_and_lips_alone_are_refused(exp, tmp_path, capsys):
    wall = tmp_path / "wall.mkv"
    write_clip(wall, np.full((25, 288, 360, 3), 90, np.uint8), sound=noise(1.0), rate=48000, sound_codec="flac")
    for name, code, words in (("eg_av", 0, "no face was found: nothing is seen"), ("eg_v", 1, "does not hear")):
        assert run(wall, exp / name / "seed0/best.pt") == code
        assert words in capsys.readouterr().err
    mute = write_clip(tmp_path / "mute.mp4", face_clip(12))
    assert run(mute, exp / "eg_v/seed0/best.pt") == 0
    assert run(mute, exp / "eg_av/seed0/best.pt") == 1
    assert "mute.mp4: has no sound" in capsys.readouterr().err


def test_what_is_no_recogniser_or_has_no_front_end_is_refused(clip, exp, tmp_path, capsys):
    assert run(clip, exp / "mhca_avcrn/seed0/best.pt") == 2
    assert "which writes no text; name a recogniser" in capsys.readouterr().err
    alone = tmp_path / "exp/eg_v/seed0/best.pt"
    alone.parent.mkdir(parents=True)
    alone.write_bytes((exp / "eg_v/seed0/best.pt").read_bytes())
    assert run(clip, alone) == 1
    assert "is no front-end; give a front-end file" in capsys.readouterr().err
    assert run(clip, alone, f"--frontend={exp}/p3d50/seed0") == 0
