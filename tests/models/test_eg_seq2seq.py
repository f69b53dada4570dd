"""EG-seq2seq: what it does not share with the other recogniser."""

import pytest
import torch

from avsr.models.recognition.eg_seq2seq import EgConf, EgSeq2Seq, withhold
from tests.models.utterances import example, one

TINY = {"conv": 64, "audio_fc": 32, "units": 32, "embedding": 32, "video": 64}


def model_of(modality: str = "av", **options) -> EgSeq2Seq:
    torch.manual_seed(1)
    return EgSeq2Seq(EgConf(modality=modality, **{**TINY, **options}))


@pytest.mark.parametrize(
    "options, number",
    [
        ({"modality": "av"}, 14_507_561),
        ({"modality": "a"}, 12.26),
        ({"modality": "v"}, 2.28),
        ({"modality": "av", "bidirectional": False}, 9.34),
        ({"modality": "a", "bidirectional": False}, 8.06),
        ({"modality": "v", "bidirectional": False}, 1.31),
        ({"modality": "av", "units": 512}, 48.3),
    ],
)
def test_numbers_of_parameters(options, number):
    with torch.device("meta"):
        count = sum(p.numel() for p in EgSeq2Seq(EgConf(**options)).parameters())
    digits = len(str(number).split(".")[-1])
    assert count == number or round(count / 1e6, digits) == number


@pytest.mark.parametrize("frames", [1, 4, 29, 75])
def test_memory_has_the_video_s_frames(frames):
    model = model_of().eval()
    mel, feats, lengths, *_ = example([frames], [3])
    with torch.no_grad():
        memory = model.encode(mel, feats, lengths)
    assert memory.keys.shape == (2, 1, frames, 32)


def test_padding_changes_nothing_in_the_literal_reading():
    model = model_of(bidirectional=False, cell="gru").eval()
    batch = example([9, 5, 1], [7, 3, 2])
    with torch.no_grad():
        total, number = model.loss(*batch)
        alone = [model.loss(*one(batch, row)) for row in range(3)]
        padded, clip = model.encode(*batch[:3]), model.encode(*one(batch, 1)[:3])
    torch.testing.assert_close(total, sum(part for part, _ in alone), rtol=1e-5, atol=1e-5)
    assert number == sum(part for _, part in alone) == 12
    weights = model.attention(padded, batch[3])[:, 1:2, :3]
    torch.testing.assert_close(weights[..., :5], model.attention(clip, batch[3][1:2, :3]), rtol=0, atol=1e-5)
    assert (weights[..., 5:] == 0).all()


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_modality_dropout_withholds_one_modality_of_so_many_utterances(share):
    torch.manual_seed(0)
    audio, video = ((torch.rand(4000, 2, 3) + 1, torch.rand(4000, 3) + 1) for _ in range(2))
    (a_out, a_end), (v_out, v_end) = withhold([audio, video], share)
    no_audio, no_video = (a_end == 0).all(dim=1), (v_end == 0).all(dim=1)
    assert not (no_audio & no_video).any()
    assert abs(no_audio.float().mean() - share / 2) < 0.03 and abs(no_video.float().mean() - share / 2) < 0.03
    for before, after, dropped in ((audio, (a_out, a_end), no_audio), (video, (v_out, v_end), no_video)):
        for x, y in zip(before, after, strict=True):
            assert torch.equal(y[~dropped], x[~dropped]) and not y[dropped].any()


@pytest.mark.parametrize("share", [True, False])
def test_an_av_network_that_starts_from_a_and_v_attends_as_they_do(share):
    audio, video, both = (model_of(modality, share_embedding=share).eval() for modality in ("a", "v", "av"))
    for seed, model in enumerate((audio, video, both)):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    if share:  # shared vectors are those of V, so A reads well by them only if its own are the same
        video.decoder.layers.embedding.load_state_dict(audio.decoder.layers.embedding.state_dict())
    both.start_from(audio.state_dict(), video.state_dict())
    mel, feats, frames, tokens, _ = example([6, 4], [3, 3])
    with torch.no_grad():
        found = [
            (model.decoder.layers, model.start(model.encode(*inputs, frames)))
            for model, inputs in ((audio, (mel, None)), (video, (None, feats)), (both, (mel, feats)))
        ]
        for token_b in tokens.unbind(1):
            found = [(layers, layers(layers.embedding(token_b), state)[0]) for layers, state in found]
            of_audio, of_video, of_both = (state.c for _, state in found)
            torch.testing.assert_close(of_both, torch.cat([of_audio, of_video]))
            assert of_both.std() > 0
