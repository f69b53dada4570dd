"""TM-seq2seq: what it does not share with the other recogniser."""

import pytest
import torch

from avsr.models.recognition.tm_seq2seq import TmConf, TmSeq2Seq
from tests.models.utterances import example

TINY = {"width": 32, "heads": 4, "hidden": 64, "encoder_layers": 2, "decoder_layers": 2, "video": 64}


def model_of(modality: str = "av", **options) -> TmSeq2Seq:
    torch.manual_seed(1)
    return TmSeq2Seq(TmConf(modality=modality, **{**TINY, **options}))


@pytest.mark.parametrize(("modality", "number"), [("av", 75_860_521), ("a", 44.34), ("v", 44.18)])
def test_numbers_of_parameters(modality, number):
    with torch.device("meta"):
        count = sum(p.numel() for p in TmSeq2Seq(TmConf(modality=modality)).parameters())
    assert count == number or round(count / 1e6, 2) == number


@pytest.mark.parametrize("frames", [1, 4, 29, 75])
def test_memory_has_the_video_s_frames(frames):
    model = model_of().eval()
    mel, feats, lengths, *_ = example([frames], [3])
    with torch.no_grad():
        memory = model.encode(mel, feats, lengths)
    assert len(memory.layers) == 2
    assert all(x.shape == (1, 4, frames, 8) for layer in memory.layers for keys in layer for x in keys)


def test_four_mel_frames_make_one_of_the_encoder():
    model = model_of("a", input_transform="none").eval()
    mel, _, frames, *_ = example([3], [2])
    found = []
    model.audio.register_forward_pre_hook(lambda module, args: found.append(args[0]))
    with torch.no_grad():
        model.encode(mel, None, frames)
        expected = model.audio_fc(torch.stack([mel[0, 4 * t : 4 * t + 4].flatten() for t in range(3)]))
    torch.testing.assert_close(found[0][0], expected)


def test_positions_tell_the_order_of_frames():
    model = model_of("v").eval()
    _, feats, frames, tokens, lengths = example([5], [4])
    with torch.no_grad():
        forwards, _ = model.loss(None, feats, frames, tokens, lengths)
        backwards, _ = model.loss(None, feats.flip(1), frames, tokens, lengths)
    assert abs(forwards - backwards) > 1e-3


def test_an_av_network_that_starts_from_a_and_v_encodes_and_attends_as_they_do():
    audio, video, both = (model_of(modality, decoder_layers=1).eval() for modality in ("a", "v", "av"))
    for seed, model in enumerate((audio, video, both)):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    before = {name: value.clone() for name, value in both.state_dict().items()}
    both.start_from(audio.state_dict(), video.state_dict())
    mel, feats, frames, tokens, _ = example([6, 4], [3, 3])
    with torch.no_grad():
        inputs = ((mel, None), (None, feats), (mel, feats))
        memories = [m.encode(*x, frames) for m, x in zip((audio, video, both), inputs, strict=True)]
        for of_audio, of_video, of_both in zip(*(memory.layers for memory in memories), strict=True):
            for found, expected in zip(of_both, [*of_audio, *of_video], strict=True):
                torch.testing.assert_close(found, expected)
        heard, of_both = (m.attention(memory, tokens) for m, memory in zip((audio, both), memories[::2], strict=True))
        torch.testing.assert_close(of_both[0], heard[0])
    joining = both.decoder.layers[0].feed_forward[0].weight
    torch.testing.assert_close(joining[:, : joining.shape[1] // 2], audio.decoder.layers[0].feed_forward[0].weight)
    assert not joining[:, joining.shape[1] // 2 :].any()
    kept = {name for name, value in both.state_dict().items() if torch.equal(value, before[name])}
    assert kept == {"mel_input.mean", "mel_input.deviation", "mel_input.fitted"}  # A has no statistics either
