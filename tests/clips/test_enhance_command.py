"""`python -m avsr.enhance` on whole files: what it writes, says and refuses."""

import tracemalloc

import av
import numpy as np
import pytest
import soundfile

from avsr import enhance
from avsr.clips.enhance import enhance as enhance_clip
from avsr.clips.sound import measure
from avsr.media.audio import read_sound
from avsr.models.systems import load_system
from avsr.training import checkpoint
from tests.clips.test_enhance import fresh, noise
from tests.media.clips import face_clip, write_clip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("checkpoints"), {}
    for name in ("mhca_avcrn", "audio_only_crn", "av_se2"):
        conf = {"system": {"id": name, "model": load_system(name, "tiny").model}}
        made[name] = folder / f"{name}.pt"
        checkpoint.save(made[name], {"system": name, "config": conf, "model": fresh(name).state_dict()})
    return made


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_clip(path, face_clip(30), codec="mpeg4", sound=noise(1.2), rate=48000, sound_codec="aac")


def run(clip, out, model, *more) -> int:
    return enhance.main([str(clip), f"--out={out}", f"--checkpoint={model}", *more])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp4", "mov", "mkv"])
def test_every_format_holds_the_enhanced_sound_and_videos_the_pictures(clip, checkpoints, tmp_path, suffix):
    out = tmp_path / f"clean.{suffix}"
    assert run(clip, out, checkpoints["mhca_avcrn"]) == 0
    expected = enhance_clip(clip, checkpoint=checkpoints["mhca_avcrn"])
    found, info = read_sound(out)
    assert (info.rate, info.channels) == (16000, 1)
    samples = min(len(found), len(expected))
    assert abs(len(found) - len(expected)) < 1024 + 960  # a codec's frame, and those of the clip's own
    error = found[:samples] - (expected - expected.mean())[:samples]
    least = 0.2 if suffix in ("ogg", "mp4", "mov") else 1e-4  # what a lossy codec does to noise
    assert np.square(error).mean() < least * np.square(expected).mean()
    if suffix in ("mp4", "mov", "mkv"):
        with av.open(str(out)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 30
            assert container.streams.video[0].codec_context.name == "mpeg4"


def test_what_it_says_and_draws(clip, checkpoints, tmp_path, capsys):
    assert run(clip, tmp_path / "a.wav", checkpoints["mhca_avcrn"], f"--show={tmp_path}/a.png") == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"{clip}: 1.2") and said[0].endswith("s of sound, 48000 Hz, 1 channel")
    assert said[1] == f"{clip}: pictures of 360x288, 25.00 a second"
    assert said[-2].startswith(f"{tmp_path}/a.wav written, 1.2") and said[-1] == f"look at {tmp_path}/a.png"
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_sound_alone_and_pictures_without_a_face_are_heard(checkpoints, tmp_path, capsys):
    sound, wall = tmp_path / "sound.wav", tmp_path / "wall.mkv"
    soundfile.write(sound, noise(1.0), 48000)
    write_clip(wall, np.full((25, 288, 360, 3), 90, np.uint8), sound=noise(1.0), rate=48000, sound_codec="flac")
    for path, words in ((sound, "has no pictures: nothing is seen"), (wall, "no face was found: nothing is seen")):
        assert run(path, tmp_path / f"{path.stem}_out.wav", checkpoints["mhca_avcrn"]) == 0
        assert f"{path}: {words}" in capsys.readouterr().err
    one, other = (read_sound(tmp_path / f"{name}_out.wav")[0] for name in ("sound", "wall"))
    np.testing.assert_allclose(one, other, atol=2e-4)  # the same sound, and nothing seen in both


def test_what_is_refused_is_one_line_and_leaves_nothing(clip, checkpoints, tmp_path, capsys):
    mute, there, good = tmp_path / "mute.mp4", tmp_path / "there.wav", checkpoints["mhca_avcrn"]
    write_clip(mute, face_clip(10))
    soundfile.write(there, noise(0.5), 48000)
    before = there.read_bytes()
    cases = [
        (mute, tmp_path / "a.wav", good, [], 1, f"{mute}: has no sound"),
        (tmp_path / "gone.mp4", tmp_path / "a.wav", good, [], 1, "there is no such file"),
        (clip, there, good, [], 2, f"{there}: is there already; name another file, or say --overwrite"),
        (there, there, good, ["--overwrite"], 2, f"{there}: is the clip itself"),
        (clip, tmp_path / "a.mp3", good, [], 2, "cannot write .mp3; name one of .wav .flac .ogg .mp4 .mov .mkv"),
        (clip, tmp_path / "none/a.wav", good, [], 2, "there is no folder"),
        (there, tmp_path / "a.mp4", good, [], 2, "has no pictures to go with the sound"),
        (clip, tmp_path / "a.wav", good, ["--face=2"], 1, "there are 1 faces at most in a picture, not 2"),
        (clip, tmp_path / "a.wav", checkpoints["av_se2"], [], 2, "cannot run on a stream"),
        (clip, tmp_path / "a.wav", tmp_path / "gone.pt", [], 1, "there is no such checkpoint"),
        (clip, tmp_path / "a.wav", good, ["--show=a.jpg"], 2, "a.jpg: cannot write .jpg; name one of .png"),
    ]
    for path, out, model, more, code, words in cases:
        assert run(path, out, model, *more) == code, words
        said = capsys.readouterr().err.splitlines()
        assert words in said[-1] and said[-1].startswith("enhance: "), said
    assert there.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"mute.mp4", "there.wav"}
    assert run(clip, there, good, "--overwrite") == 0 and there.read_bytes() != before


def test_memory_does_not_grow_with_the_clip(checkpoints, tmp_path):
    peaks = []
    for seconds in (10, 60):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, noise(seconds, 16000), 16000)
        tracemalloc.start()
        assert run(path, tmp_path / f"{seconds}_out.wav", checkpoints["audio_only_crn"]) == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert measure(tmp_path / f"{seconds}_out.wav").length == 16000 * seconds
    assert peaks[1] < peaks[0] + 1_000_000  # the sound of the longer one takes 3.8 MB
