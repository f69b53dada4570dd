import numpy as np
import pytest
import soundfile

from avsr.errors import AvsrError
from avsr.noise.library import (
    PIECE,
    Recording,
    describe,
    find_noises,
    find_talkers,
    noise_source,
    read_recording,
    split_by_source,
    talker_of,
)
from avsr.noise.mixing import power
from avsr.noise.sources import NoiseSources
from avsr.noise.synthetic import TYPES, find_synthetic, make_recording
from avsr.storage.arrays import finish_store
from avsr.storage.atomic import write_json
from avsr.storage.datadir import Utterance, write_datadir
from tests.stages.tiny import write_store


def sound(path, seconds=0.5, rate=16000, channels=1, height=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = height * np.random.default_rng(len(path.name)).standard_normal((int(seconds * rate), channels))
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return path


def recordings(**sources):
    """Recordings of {type: [source, ...]}."""
    return [Recording(f"{kind}-{n}", kind, s, "") for kind, row in sources.items() for n, s in enumerate(row)]


def test_files_of_one_recording_have_one_source():
    cut = "esc10_helicopter_1-172649"
    assert noise_source("engine", f"{cut}-B") == noise_source("engine", f"{cut}-E")
    assert noise_source("engine", f"{cut}-B") == noise_source("engine", "1-172649-D-40")
    assert noise_source("engine", "esc10_helicopter_2-37806-A") != noise_source("engine", "esc10_helicopter_2-37807-A")
    tap = "audiomentations_130921_laptopmic-dell_tap_channel0"
    assert noise_source("mic", f"{tap}_chunk200_aug0") == noise_source("mic", f"{tap}_chunk204_aug3")
    assert noise_source("car", "01") != noise_source("street", "01")
    assert noise_source("car", "opensfx_13") != noise_source("car", "opensfx_14")


@pytest.mark.parametrize(
    ("stem", "talker"),
    [
        ("1995-1837-0001", "1995"),
        ("cmu_arctic_us_aew_a0003", "aew"),
        ("spk2_snt4", "spk2"),
        ("arctic_a0010", "arctic"),
        ("anna_01", "anna"),
        ("solo", "solo"),
    ],
)
def test_talkers_are_read_from_names(stem, talker):
    assert talker_of(stem) == talker


def test_no_source_stands_in_two_splits_and_each_type_is_in_all():
    rows = split_by_source(recordings(a=list("abcdefghij") * 3, b=list("xyz"), c=list("abcd")), 7, 0.1, 0.2)
    split_of = {}
    for row in rows:
        assert split_of.setdefault(row.source, row.split) == row.split
    for kind, counts in {"a": (7, 1, 2), "b": (1, 1, 1)}.items():
        sources = {row.source: row.split for row in rows if row.type == kind}
        assert tuple(list(sources.values()).count(split) for split in ("train", "valid", "test")) == counts
    assert split_by_source(recordings(a=list("abcdefghij")), 7, 0.1, 0.2) != split_by_source(
        recordings(a=list("abcdefghij")), 8, 0.1, 0.2
    )


def test_types_with_few_sources_are_for_evaluation_only():
    rows = split_by_source(recordings(rare=["u", "u", "v"], common=["u", *"abcdef"]), 0, 0.1, 0.2)
    assert {row.split for row in rows if row.type == "rare"} == {"test"}
    assert {row.split for row in rows if row.source == "u"} == {"test"}  # in the other type too
    assert "rare: 2 sources in 3 recordings: 0 train, 0 valid, 2 test (too few" in "\n".join(describe(rows))


def test_any_rate_and_stereo_become_16_khz_mono(tmp_path):
    tone_n = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    (tmp_path / "hum").mkdir()
    soundfile.write(tmp_path / "hum/x.wav", np.stack([0.4 * tone_n + 0.3, 0.2 * tone_n + 0.3], axis=1), 44100)
    (recording,) = find_noises(tmp_path)
    assert (recording.key, recording.type) == ("hum-x", "hum")
    wave_n = read_recording(recording)
    assert wave_n.shape == (16000,) and wave_n.dtype == np.float32
    expected_n = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(wave_n[200:-200] - expected_n[200:-200]).max() < 0.01


def test_a_long_recording_is_kept_in_pieces_of_one_source(tmp_path):
    sound(tmp_path / "car/long.wav", seconds=50, rate=8000)
    found = find_noises(tmp_path)
    assert [r.key for r in found] == ["car-long_p0000", "car-long_p0001"]
    assert len({r.source for r in found}) == 1
    parts = [read_recording(recording) for recording in found]
    assert [len(part) for part in parts] == [PIECE, 50 * 16000 - PIECE]


def test_names_become_safe_keys(tmp_path):
    sound(tmp_path / "air brake/bus (1).wav")
    assert find_noises(tmp_path)[0].key == "air_brake-bus_1_"
    sound(tmp_path / "air brake/bus [1].wav")
    with pytest.raises(AvsrError, match="both are called air_brake-bus_1_; rename one"):
        find_noises(tmp_path)


def test_bad_noise_folders_are_refused_by_name(tmp_path):
    with pytest.raises(AvsrError, match="nowhere: there is no such folder; --noise-dir names it"):
        find_noises(tmp_path / "nowhere")
    with pytest.raises(AvsrError, match="nowhere: there is no such folder; --speech-dir names it"):
        find_talkers(tmp_path / "nowhere")
    (tmp_path / "car").mkdir()
    with pytest.raises(AvsrError, match="no sound files in it; noises lie in"):
        find_noises(tmp_path)
    (tmp_path / "car/notes.wav").write_text("this is text\n" * 50)
    with pytest.raises(AvsrError, match=r"notes.wav: is no sound file \(.*\); take it out"):
        find_noises(tmp_path)
    soundfile.write(tmp_path / "car/notes.wav", np.zeros(0), 16000)
    with pytest.raises(AvsrError, match="notes.wav: holds no sound"):
        find_noises(tmp_path)
    sound(tmp_path / "speech/x.wav")
    (tmp_path / "car/notes.wav").unlink()
    with pytest.raises(AvsrError, match="kept for talkers"):
        find_noises(tmp_path)


@pytest.mark.parametrize("offset", [0.0, 0.25])
def test_a_silent_file_is_refused_by_name(tmp_path, offset):
    (tmp_path / "car").mkdir()
    soundfile.write(tmp_path / "car/quiet.wav", np.full(16000, offset), 16000)
    with pytest.raises(AvsrError, match="quiet.wav: is silent; take it out of the folder"):
        read_recording(find_noises(tmp_path)[0])


def test_real_recordings(real_data):
    rows = split_by_source(find_noises(real_data / "noise"), 0, 0.1, 0.2)
    assert len({row.type for row in rows}) == 12 and len({row.path for row in rows}) == 137
    helicopter = [row for row in rows if "1-172649" in row.key]
    assert len(helicopter) == 3 and len({row.split for row in helicopter}) == 1
    assert {row.split for row in rows if row.type in ("car", "music", "street", "ring_bell")} == {"test"}
    talkers = split_by_source(find_talkers(real_data / "speech"), 0, 0.1, 0.2)
    assert len({row.source for row in talkers}) == 8 and len(talkers) == 23
    assert {row.split for row in talkers} == {"train", "valid", "test"}


def test_generated_noise_is_the_same_always_and_differs_by_source():
    found = find_synthetic()
    assert len(found) == 6 * len(TYPES) and len({row.key for row in found}) == len(found)
    waves = {row.key: make_recording(row) for row in found if row.key.endswith(("1", "2"))}
    for row in found[:2]:
        assert np.array_equal(make_recording(row), waves[row.key])
    spectra = {}
    for key, wave_n in waves.items():
        assert wave_n.shape == (160_000,) and wave_n.dtype == np.float32 and np.isfinite(wave_n).all()
        assert power(wave_n) == pytest.approx(0.05**2, rel=1e-4)
        spectra[key] = np.log(np.mean(np.abs(np.fft.rfft(wave_n.reshape(-1, 320))) ** 2, axis=0)[1:])
    keys = list(spectra)
    apart = [np.abs(spectra[a] - spectra[b]).mean() for i, a in enumerate(keys) for b in keys[:i]]
    assert min(apart) > 0.1
    assert {row.split for row in split_by_source(found, 0, 0.1, 0.2)} == {"train", "valid", "test"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"source": "rain/a"}, "the source rain/a stands in both train (rain-a) and test (rain-b)"),
        ({"path": "/noises/rain/a.wav"}, "the file /noises/rain/a.wav stands in both train (rain-a) and test (rain-b)"),
        ({"type": "speech", "source": "spk1"}, "the talker spk1 stands in both test (rain-b) and train (speech-spk1)"),
    ],
)
def test_a_source_in_two_splits_is_refused_at_load(tmp_path, changed, said):
    rows = {
        "rain-a": {"type": "rain", "source": "rain/a", "split": "train", "path": "/noises/rain/a.wav"},
        "rain-a_p1": {"type": "rain", "source": "rain/a", "split": "train", "path": "/noises/rain/a.wav"},
        "rain-b": {"type": "rain", "source": "rain/b", "split": "test", "path": "/noises/rain/b.wav"},
        "made": {"type": "hum", "source": "hum/0", "split": "test", "path": ""},  # generated: no file
        "made-1": {"type": "hum", "source": "hum/1", "split": "train", "path": ""},
        "speech-spk1": {"type": "speech", "source": "spk1", "split": "train", "path": "/talkers/1.wav"},
        "other": {"type": "rain", "source": "spk1", "split": "test", "path": "/noises/rain/spk1.wav"},  # no talker
    }
    write_datadir(tmp_path / "data/test", [Utterance("a-1", "a", "A", None, tmp_path / "a.wav", 0.2)])
    write_store(tmp_path / "dump/audio/test/wave", {"a-1": np.ones(3200, np.float32)})
    write_store(tmp_path / "dump/noise", {"rain-a": np.ones(3200, np.float32)})
    finish_store(tmp_path / "dump/babble/test", "hdf5", {}, {"groups": {"by": "speaker", "group": {}}, "tracks": []})
    splits = tmp_path / "data/noise_splits.json"
    write_json(splits, {"recordings": rows})
    assert NoiseSources(tmp_path, "test").can("natural", "a-1")
    write_json(splits, {"recordings": rows | {"rain-b": rows["rain-b"] | changed}})
    with pytest.raises(AvsrError) as error:
        NoiseSources(tmp_path, "test")
    assert str(error.value).startswith(f"{splits}: {said}; a source of noise has one split")
    assert "\n" not in str(error.value)
