"""Examples of the three tasks, on a small work folder made here."""

import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from avsr.errors import AvsrError, UsageError
from avsr.features.mel import filter_bank, mel
from avsr.models.enhancement.ae import Ae, AeConf
from avsr.noise.babble import make_groups
from avsr.noise.lists import NoiseConf, Row, write_list
from avsr.noise.sampler import MixSampler
from avsr.rng import rng
from avsr.storage.arrays import ShardWriter, finish_store
from avsr.storage.atomic import write_json
from avsr.storage.datadir import Utterance, write_datadir
from avsr.training.conf import EnhanceOptions, Phase, RecogniseOptions
from avsr.training.tasks.batch import augment, pad_batch
from avsr.training.tasks.enhance import EnhanceData, EnhanceExamples, EnhanceTask, video_store
from avsr.training.tasks.recognise import RecogniseData, RecogniseExamples
from avsr.training.tasks.words import WordExamples, WordsData, check_validation, word_list

FRAMES = {"s1-a": 12, "s1-b": 25, "s2-a": 23, "s2-b": 4}
WORDS = ((0.0, 0.12, "BIN"), (0.16, 0.24, "BLUE"), (0.28, 0.44, "AT"))


def store(folder, arrays):
    with ShardWriter(folder, 0) as writer:
        for key, array in arrays.items():
            writer.write(key, array)
    finish_store(folder, "hdf5", {0: writer.index}, {})


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("tasks")
    waves = {u: rng("wave", u).normal(0, 0.1, 640 * n).astype(np.float32) for u, n in FRAMES.items()}
    for split in ("train", "valid"):
        utts = [Utterance(u, u[:2], "BIN BLUE AT", "v.mpg", None, n / 25, WORDS) for u, n in FRAMES.items()]
        write_datadir(work / "data" / split, utts)
        store(work / "dump/audio" / split / "wave", waves)
        pictures = {
            u: np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8) for u, n in FRAMES.items()
        }
        store(work / "dump/video" / split / "crop80", pictures)
        store(work / "dump/video" / split / "crop112", pictures)
        store(work / "dump/video_feats" / split, {u: np.full((n, 512), n, np.float32) for u, n in FRAMES.items()})
        finish_store(
            work / "dump/babble" / split,
            "hdf5",
            {},
            {"groups": make_groups({u: u[:2] for u in FRAMES}, 2, 0), "tracks": []},
        )
        for name in ("train_like", "clean", "babble"):
            write_list(work / "data" / f"{split}_noisy" / f"{name}.jsonl", [Row(u, "clean") for u in FRAMES])
    store(work / "dump/noise", {"rain-1": rng("rain").normal(0, 1, 16000).astype(np.float32)})
    rain = {"type": "rain", "source": "1", "split": "train", "path": ""}
    write_json(work / "data/noise_splits.json", {"seed": 0, "noise": "synthetic", "recordings": {"rain-1": rain}})
    return work


def test_pad_batch():
    items = [
        {"utts": "a", "frames": 1, "x": np.ones((1, 2), np.float32)},
        {"utts": "b", "frames": 2, "x": np.ones((2, 2), np.float32)},
    ]
    batch = pad_batch(items)
    assert batch["utts"] == ["a", "b"] and batch["frames"].tolist() == [1, 2]
    assert batch["x"].shape == (2, 2, 2) and batch["x"][0, 1].tolist() == [0, 0]


def test_augment_mirrors_and_shifts_with_repeated_edges():
    crop = np.arange(36, dtype=np.uint8).reshape(1, 6, 6)
    seen = {augment(crop, rng(k), 0).tobytes() for k in range(20)}
    assert seen == {crop.tobytes(), crop[:, :, ::-1].tobytes()}
    moved = augment(crop, rng(3), 2)
    assert moved.shape == crop.shape and set(moved.ravel().tolist()) <= set(crop.ravel().tolist())
    assert len({augment(crop, rng(k), 2).tobytes() for k in range(60)}) > 20


def test_words_are_cut_around_their_middle(work):
    assert word_list(work) == ["AT", "BIN", "BLUE"]
    examples = WordExamples(WordsData(work, 5, 0), "valid", None)
    place = {name: k for k, name in enumerate(examples.ids)}
    assert "s2-b.2" not in place  # it is spoken after the pictures end
    item = examples[place["s1-b.1"]]  # middle 0.2 s: picture 5
    assert item["label"] == 2 and item["crop112"][:, 0, 0].tolist() == [2, 3, 4, 5, 6]
    first = examples[place["s1-b.0"]]  # middle 0.06 s: the first picture is repeated
    assert first["crop112"][:, 0, 0].tolist() == [0, 0, 1, 2, 3]


def test_every_word_is_an_example_or_left_out_with_a_reason(work, tmp_path):
    for folder in ("data/train", "dump/video/valid/crop112"):
        shutil.copytree(work / folder, tmp_path / folder)
    words = (*WORDS, (0.48, 0.56, "NEVER"))
    utts = [Utterance(u, u[:2], "BIN BLUE AT NEVER", "v.mpg", None, n / 25, words) for u, n in FRAMES.items()]
    write_datadir(tmp_path / "data/valid", utts)
    examples = WordExamples(WordsData(tmp_path, 5, 0), "valid", None)
    every = {f"{u}.{k}" for u in FRAMES for k in range(4)}
    assert len(examples) == 10 and set(examples.ids) | set(examples.left_out) == every
    unknown = {f"{u}.3": "NEVER is not among the words of training" for u in FRAMES}
    late = {f"s2-b.{k}": f"{word} is spoken after the last picture" for k, word in ((1, "BLUE"), (2, "AT"))}
    assert examples.left_out == unknown | late


def test_utterances_without_word_times_are_no_examples(work, tmp_path):
    for folder in ("data/train", "dump/video/valid/crop112"):
        shutil.copytree(work / folder, tmp_path / folder)
    utts = [Utterance(u, u[:2], "BIN BLUE AT", "v.mpg", None, n / 25) for u, n in FRAMES.items()]
    write_datadir(tmp_path / "data/valid", [replace(utts[0], words=WORDS), *utts[1:]])
    assert {name.partition(".")[0] for name in WordExamples(WordsData(tmp_path, 5, 0), "valid", None).ids} == {"s1-a"}
    check_validation(tmp_path, ["AT", "ELSE"])
    write_datadir(tmp_path / "data/valid", utts)
    assert len(WordExamples(WordsData(tmp_path, 5, 0), "valid", None)) == 0
    with pytest.raises(AvsrError, match="data/valid/ctm: has times of none of the words of training; .* --frontend"):
        check_validation(tmp_path, word_list(tmp_path))


def test_enhancement_examples_are_whole_slices_of_the_same_mixture(work):
    data = EnhanceData(work, "mel_slaney", "crop80", 5, NoiseConf(p_speech=0.0), 0)
    examples = EnhanceExamples(data, "train", 0)
    assert dict(zip(examples.ids, examples.lengths, strict=True)) == {"s1-a": 10, "s1-b": 25, "s2-a": 20}
    item = examples[0]
    assert item["noisy_mel"].shape == item["clean_mel"].shape == (40, 80) and item["crop80"].shape == (10, 8, 8)
    assert not np.allclose(item["noisy_mel"], item["clean_mel"])
    again, later = EnhanceExamples(data, "train", 0)[0], EnhanceExamples(data, "train", 1)[0]
    assert np.array_equal(item["noisy_mel"], again["noisy_mel"])
    assert not np.array_equal(item["noisy_mel"], later["noisy_mel"])


def test_an_enhancer_may_hear_parts_of_its_clips(work):
    data = EnhanceData(work, "mel_htk", "feats", 1, NoiseConf(p_noise=0.0), 0)
    whole, parts = (EnhanceExamples(data, "train", 3, EnhanceOptions(seconds=part)) for part in (None, (0.2, 0.3)))
    assert parts.ids == whole.ids and max(parts.starts) > 0
    assert all(min(5, frames) <= count <= 8 for count, frames in zip(parts.lengths, whole.lengths, strict=True))
    item, first, count = parts[0], parts.starts[0], parts.lengths[0]
    assert np.array_equal(item["feats"], whole[0]["feats"][first : first + count])
    sound, _ = whole.mixer.mixture(whole.ids[0], 3)
    assert np.array_equal(item["noisy_mel"], mel(sound[640 * first : 640 * (first + count)], "mel_htk"))
    assert EnhanceExamples(data, "train", 4, parts.options).starts != parts.starts
    assert EnhanceExamples(data, "valid", None, parts.options).lengths == EnhanceExamples(data, "valid", None).lengths


def test_training_may_hide_the_pictures(work):
    """Of some clips all, or a part of each: they become the clip's mean picture, the sound stays."""
    data = EnhanceData(work, "mel_slaney", "crop80", 5, NoiseConf(), 0)
    seen, none = (EnhanceExamples(data, "train", 3, EnhanceOptions(video_dropout=p)) for p in (0.0, 1.0))
    stored = video_store(work, "train", "crop80")
    for index, utt in enumerate(none.ids):
        clip, mean = none[index]["crop80"], stored.read(utt)[: none.lengths[index]].mean(0).astype(np.uint8)
        assert (np.abs(clip.astype(int) - clip[:1]) == 0).all() and sorted(clip[0].ravel()) == sorted(mean.ravel())
        assert np.array_equal(none[index]["noisy_mel"], seen[index]["noisy_mel"])
    epochs = [EnhanceExamples(data, "train", epoch, EnhanceOptions(video_dropout=0.5)) for epoch in range(20)]
    still = [len(np.unique(some[i]["crop80"], axis=0)) == 1 for some in epochs for i in range(len(some))]
    assert 15 < sum(still) < 45  # of 60
    masked = EnhanceExamples(data, "train", 3, EnhanceOptions(video_mask=0.4))
    for index in range(len(masked)):
        clip = masked[index]["crop80"]
        changed = (clip != seen[index]["crop80"]).any((1, 2)).nonzero()[0]
        assert len(changed) <= 10 and (not len(changed) or len(np.unique(clip[changed], axis=0)) == 1)
    for hidden in (EnhanceOptions(video_dropout=1.0), EnhanceOptions(video_mask=9.0)):
        valid = EnhanceExamples(data, "valid", None, hidden)[0]["crop80"]
        assert np.array_equal(valid, EnhanceExamples(data, "valid", None)[0]["crop80"])
    with pytest.raises(ValueError, match="video_dropout must lie"):
        EnhanceOptions(video_dropout=1.5)


def test_validation_is_the_list(work):
    data = EnhanceData(work, "mel_htk", None, 1, NoiseConf(), 0)
    item = EnhanceExamples(data, "valid", None)[0]
    assert np.array_equal(item["noisy_mel"], item["clean_mel"])


def test_an_ae_that_is_no_better_than_the_noisy_sound_is_warned_of(work, monkeypatch):
    said = []  # not caplog: a stage or a trainer that was run here before leaves the logger as it likes
    log = logging.getLogger("avsr.training.tasks.enhance")
    monkeypatch.setattr(log, "warning", lambda text, *values: said.append(text % values))
    task = EnhanceTask(EnhanceData(work, "mel_htk", "feats", 1, NoiseConf(), 0))
    model = Ae(AeConf(hidden=16, stream=16, units=16, fc=16)).eval()
    clean, frames = torch.rand(2, 12, 80), torch.tensor([3, 2])
    batch = {"noisy_mel": 1.5 * clean, "clean_mel": clean, "feats": torch.randn(2, 3, 512), "frames": frames}
    torch.nn.init.zeros_(model.fc_mask.weight)
    for bias, warned in ((0.6931472, False), (-30.0, True)):  # a mask of 2 / 3, the best, and one of 0
        torch.nn.init.constant_(model.fc_mask.bias, bias)
        said.clear()
        with torch.no_grad():
            loss = task.validate(model, iter([batch, batch]), None)["loss"]
        mean = torch.cat([clean[0], clean[1, :8]]).mean().item()
        assert loss == pytest.approx(mean if warned else 0.0, abs=1e-5)
        assert any("is not below that of the noisy sound as it is" in line for line in said) == warned


def test_at_a_phase_s_end_the_loss_of_training_clips_is_measured_in_noise_of_its_own(work):
    """Against a loop over single clips, whose mixtures are those of the epoch that training would come to next."""
    data = EnhanceData(work, "mel_htk", "feats", 1, NoiseConf(snr=(0.0, 0.0), p_speech=0.0, natural=True), 0)
    task, phase = EnhanceTask(data), Phase("train", epochs=3)
    torch.manual_seed(0)
    model = Ae(AeConf(hidden=16, stream=16, units=16, fc=16)).eval()
    total = count = 0.0
    mixer, features = MixSampler(data.noise, work, "train", data.seed), video_store(work, "train", "feats")
    with torch.no_grad():
        for utt, frames in FRAMES.items():
            mels = [torch.tensor(mel(wave_n, "mel_htk"))[None, : 4 * frames] for wave_n in mixer.mixture(utt, 3)]
            video = torch.tensor(features.read(utt))[None]
            one, cells = model.loss(*mels, video, torch.tensor([frames]))
            total, count = total + float(one), count + float(cells)
        found = task.phase_end(model, phase, torch.device("cpu"))
    assert found == {"seen_loss": pytest.approx(total / count, rel=1e-5)}


def test_windows_of_words(work):
    data = RecogniseData(work, True, "feats", NoiseConf(p_speech=0.0), 0)
    counts, checked = set(), 0
    for epoch in range(12):
        examples = RecogniseExamples(data, "train", epoch, RecogniseOptions(words=2))
        for k, utt in enumerate(examples.ids):
            start, end, text = examples.cuts[k]
            item = examples[k]
            assert item["frames"] == end - start == len(item["feats"]) == examples.lengths[k]
            assert item["noisy_mel"].shape == (4 * item["frames"], 80)
            assert item["token_lengths"] == len(text) + 1 and item["tokens"][-1] == 1
            if utt == "s1-b":
                counts.add(len(text.split()))
                times = {word: (first, last) for first, last, word in WORDS}
                assert start <= times[text.split()[0]][0] * 25 and end >= times[text.split()[-1]][1] * 25
                checked += 1
    assert counts == {1, 2} and checked == 12


@pytest.mark.parametrize(
    ("words", "by_length", "shares"),
    [
        (1, False, {"BIN": 1 / 3, "BLUE": 1 / 3, "AT": 1 / 3}),
        (1, True, {"BIN": 3 / 9, "BLUE": 4 / 9, "AT": 2 / 9}),
        # half of the windows have two words; of the other half a half has one, the rest two as well
        (2, False, {"BIN": 1 / 12, "BLUE": 1 / 12, "AT": 1 / 12, "BIN BLUE": 3 / 8, "BLUE AT": 3 / 8}),
        (2, True, {"BIN": 3 / 36, "BLUE": 4 / 36, "AT": 2 / 36, "BIN BLUE": 7 / 13 * 3 / 4, "BLUE AT": 6 / 13 * 3 / 4}),
    ],
)
def test_how_often_each_window_is_drawn(work, words, by_length, shares):
    data = RecogniseData(work, True, None, NoiseConf(p_speech=0.0), 0)
    examples = RecogniseExamples(data, "train", 0, RecogniseOptions(words=words, by_length=by_length))
    texts = []
    for examples.epoch in range(4000):
        texts.append(examples._cut("s1-b")[2])
    assert set(texts) == set(shares)
    for text, share in shares.items():
        assert texts.count(text) / 4000 == pytest.approx(share, abs=0.03)


def test_validation_has_windows_of_words_too_always_the_same(work):
    data = RecogniseData(work, True, "feats", NoiseConf(p_speech=0.0), 0)
    write_list(work / "data/valid_noisy/clean.jsonl", [Row("s1-a", "clean"), Row("s1-b", "clean")])
    (work / "data/valid/ctm").write_bytes((work / "data/train/ctm").read_bytes())
    options = [RecogniseOptions(words=words, p_noise=0.0) for words in (1, 1, None)]
    found = [RecogniseExamples(data, "valid", None, one) for one in options]
    first, again, whole = (dict(zip(examples.ids, examples.cuts, strict=True))["s1-b"] for examples in found)
    assert first == again and len(first[2].split()) == 1
    assert whole[:2] == (0, 25) and len(whole[2].split()) == len(WORDS)


def test_whole_sentences_and_clean_sound(work):
    data = RecogniseData(work, True, None, NoiseConf(p_speech=0.0), 0)
    examples = RecogniseExamples(data, "train", 0, RecogniseOptions())
    item = examples[examples.ids.index("s1-b")]
    wave = rng("wave", "s1-b").normal(0, 0.1, 640 * 25).astype(np.float32)
    level = 0.05 / np.sqrt(np.mean(wave.astype(np.float64) ** 2))
    np.testing.assert_allclose(
        item["noisy_mel"], mel((wave * level).astype(np.float32), "mel_htk"), rtol=1e-3, atol=1e-5
    )


def test_a_recogniser_hears_the_set_that_its_network_asks_for(work):
    heard = []
    for named in ({}, {"mel_set": "stft"}):
        data = RecogniseData(work, True, None, NoiseConf(p_speech=0.0), 0, **named)
        examples = RecogniseExamples(data, "train", 0, RecogniseOptions())
        heard.append(examples[examples.ids.index("s1-b")]["noisy_mel"])
    assert [one.shape for one in heard] == [(100, 80), (100, 321)]
    np.testing.assert_allclose(heard[0], heard[1] @ filter_bank("mel_htk").T, rtol=1e-3, atol=1e-5)


def test_overriding_one_key_of_the_noise_keeps_the_others():
    from avsr.models.systems import load_system
    from avsr.stages.train_system import NOISE, TrainStageConf, noise_conf

    made = noise_conf(load_system("ae_tcn", "tiny"), TrainStageConf(noise={"ae": {"p_noise": 0.25}}))
    assert made.p_noise == 0.25 and made.weights() == NOISE["ae"].weights() and made.weights()["babble"] == 1.0


def test_noise_of_a_system_wins_over_that_of_its_protocol():
    from avsr.models.systems import load_system
    from avsr.stages.train_system import TrainStageConf, noise_conf

    variants = {"own_voice": {"extends": "mhca_avcrn", "name": "Own"}}
    conf = TrainStageConf(noise={"avse": {"p_speech": 0.4}, "own_voice": {"p_own": 1.0}}, variants=variants)
    own, plain = noise_conf(conf.load("own_voice"), conf), noise_conf(load_system("mhca_avcrn"), conf)
    assert own.weights() == {"natural": 0.6, "speech": 0.0, "own": 0.4, "babble": 0.0}
    assert plain.weights() == {"natural": 0.6, "speech": 0.2, "own": 0.2, "babble": 0.0}
    with pytest.raises(UsageError, match="noise: ae_tcn is trained by stage 6|noise: eg_a is trained by stage 7"):
        noise_conf(load_system("mhca_avcrn"), TrainStageConf(noise={"eg_a": {"p_noise": 0.5}}))


@pytest.mark.parametrize(
    "name, overrides, said",
    [
        ("p3d50", {"words": {"phases": [{"name": "a", "options": {"head": "Dense"}}]}}, "head: 'Dense' is none of"),
        ("p3d50", {"words": {"phases": [{"name": "a", "options": {"heads": "dense"}}]}}, "did you mean 'head'"),
        ("eg_a", {"recogniser": {"phases": [{"name": "a", "options": {"word": 2}}]}}, "did you mean 'words'"),
        ("eg_va_tcn", {"joint": {"phases": [{"name": "a", "options": {"p_noise": 2}}]}}, "p_noise must lie"),
        ("ae_tcn", {"ae": {"phases": [{"name": "a", "options": {"words": 2}}]}}, "unknown key 'words'"),
        ("ae_tcn", {"aee": {"lr": 1}}, "train: there is no training protocol 'aee'"),
    ],
)
def test_options_that_nothing_reads_are_refused_before_a_training_starts(name, overrides, said):
    from avsr.models.systems import load_system
    from avsr.stages.train_system import TrainStageConf, train_conf

    with pytest.raises(UsageError, match=said) as caught:
        train_conf(load_system(name, "tiny"), TrainStageConf(train=overrides), 0)
    assert "\n" not in str(caught.value)


def test_noise_of_an_unknown_protocol_is_refused():
    from avsr.models.systems import load_system
    from avsr.stages.train_system import TrainStageConf, noise_conf

    with pytest.raises(UsageError, match="noise: there is no training protocol 'recognise'"):
        noise_conf(load_system("eg_a", "tiny"), TrainStageConf(noise={"recognise": {"p_noise": 0.5}}))


def test_babble_alone_is_validated_on_babble(work):
    write_list(work / "data/valid_noisy/babble.jsonl", [Row("s1-a", "clean")])
    data = EnhanceData(work, "mel_htk", None, 1, NoiseConf(natural=0.0, babble=1.0, p_speech=0.0), 0)
    assert EnhanceExamples(data, "valid", None).ids == ["s1-a"]
