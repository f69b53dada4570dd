"""EG-seq2seq: sizes, padding, steps against the whole sequence, losses, and that it learns."""

import pytest
import torch

from avsr.decoding.beam import decode
from avsr.errors import UsageError
from avsr.models.recognition.eg_seq2seq import EgConf, EgSeq2Seq, withhold
from avsr.text import BOS, EOS, PAD

TINY = {"conv": 64, "audio_fc": 32, "units": 32, "embedding": 32, "video": 64}


def model_of(modality: str = "av", **options) -> EgSeq2Seq:
    torch.manual_seed(1)
    return EgSeq2Seq(EgConf(modality=modality, **{**TINY, **options}))


def example(frames: list[int], lengths: list[int], seed: int = 2) -> list[torch.Tensor]:
    """mel, feats, frames, tokens, token lengths; padding holds rubbish (tokens: PAD)."""
    torch.manual_seed(seed)
    time, longest = max(frames), max(lengths)
    mel, feats = torch.rand(len(frames), 4 * time, 80), torch.randn(len(frames), time, 64)
    tokens = torch.randint(3, 41, (len(frames), longest))
    for row, (count, length) in enumerate(zip(frames, lengths, strict=True)):
        mel[row, 4 * count :], feats[row, count:] = 100.0, -100.0
        tokens[row, length - 1], tokens[row, length:] = EOS, PAD
    return [mel, feats, torch.tensor(frames), tokens, torch.tensor(lengths)]


def one(batch: list[torch.Tensor], row: int) -> list[torch.Tensor]:
    """One utterance of a batch without its padding."""
    mel, feats, frames, tokens, lengths = (x[row : row + 1] for x in batch)
    return [mel[:, : 4 * frames], feats[:, :frames], frames, tokens[:, :lengths], lengths]


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


@pytest.mark.parametrize("modality", ["a", "v", "av"])
@pytest.mark.parametrize("options", [{}, {"bidirectional": False, "cell": "gru"}])
def test_padding_changes_nothing(modality, options):
    model = model_of(modality, **options).eval()
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


def test_single_steps_make_the_whole_sequence():
    model = model_of().eval()
    batch = example([9, 5], [7, 4])
    with torch.no_grad():
        memory = model.encode(*batch[:3])
        inputs = torch.nn.functional.pad(batch[3][:, :-1], (1, 0), value=BOS)
        whole = model.decoder(inputs, memory)[0].log_softmax(-1)
        state, steps = model.start(memory), []
        for tokens in inputs.unbind(1):
            log_probs, state = model.step(tokens, state)
            steps.append(log_probs)
    torch.testing.assert_close(torch.stack(steps, dim=1), whole, rtol=0, atol=1e-5)


def test_loss_smooths_over_the_40_classes_that_are_not_pad():
    model = model_of().eval()
    batch = example([9, 5], [4, 2])
    with torch.no_grad():
        total, _ = model.loss(*batch)
        inputs = torch.nn.functional.pad(batch[3][:, :-1], (1, 0), value=BOS)
        log_probs = model.decoder(inputs, model.encode(*batch[:3]))[0].log_softmax(-1)
    expected = 0.0
    for row, length in enumerate([4, 2]):
        for step in range(length):
            target = torch.full((41,), 0.1 / 40)
            target[PAD] = 0.0
            target[batch[3][row, step]] += 0.9
            expected -= float((target * log_probs[row, step]).sum())
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_selecting_hypotheses_and_dropping_utterances():
    model = model_of().eval()
    batch = example([9, 5, 7], [4, 4, 4])
    with torch.no_grad():
        state = model.start(model.encode(*batch[:3]))
        beams = model.select(state, torch.arange(3).repeat_interleave(2))
        tokens = torch.tensor([5, 6, 7, 8, 9, 10])
        first, beams = model.step(tokens, beams)
        # Utterance 1 is finished; the others' hypotheses change places.
        second, _ = model.step(torch.tensor([11, 12, 13, 14]), model.select(beams, torch.tensor([1, 1, 5, 4])))
        for row, (utterance, history) in enumerate([(0, (6, 11)), (0, (6, 12)), (2, (10, 13)), (2, (9, 14))]):
            alone = model.start(model.encode(*one(batch, utterance)[:3]))
            for token in history:
                log_probs, alone = model.step(torch.tensor([token]), alone)
            torch.testing.assert_close(second[row], log_probs[0], rtol=0, atol=1e-5)


def test_scheduled_sampling_draws_from_the_model_in_training_only():
    batch = example([9, 5], [7, 4])
    strict, mixed = model_of(dropout=0.0), model_of(dropout=0.0, scheduled_sampling=1.0)
    torch.testing.assert_close(strict.eval().loss(*batch)[0], mixed.eval().loss(*batch)[0])
    total = mixed.train().loss(*batch)[0]
    total.backward()
    assert not torch.isclose(total, strict.train().loss(*batch)[0])
    memory = mixed.encode(*batch[:3])
    inputs = torch.full((2, 4), BOS)
    mixed.decoder.output.bias.data[17] = 1e4  # a model that is sure
    assert mixed._sampled_inputs(inputs, memory).tolist() == [[BOS, 17, 17, 17]] * 2


def test_statistics_need_no_sound_in_a_lip_reader():
    mel, _, frames, *_ = example([9, 5], [3, 3])
    batches = [{"noisy_mel": mel, "frames": frames}]
    model_of("v").fit_statistics([{"frames": frames}])
    model = model_of("a")
    model.fit_statistics(batches)
    expected = torch.log(torch.cat([mel[0], mel[1, :20]]) + 1e-3).mean(0)
    torch.testing.assert_close(model.mel_input.mean, expected)


def test_bf16_autocast_runs_with_a_near_loss():
    model, batch = model_of().eval(), example([9, 5], [7, 4])
    exact, _ = model.loss(*batch)
    with torch.autocast("cpu", torch.bfloat16):
        near, _ = model.loss(*batch)
    near.backward()
    assert near.dtype == torch.float32
    assert float(near.detach()) == pytest.approx(float(exact.detach()), rel=0.02)


def test_learns_eight_clips_to_under_5_percent_of_wrong_characters():
    model = model_of(dropout=0.0)
    mel, feats, frames, tokens, lengths = batch = example([6] * 8, [6, 7, 8, 9, 6, 7, 8, 9], seed=3)
    model.fit_statistics([{"noisy_mel": mel, "frames": frames}])
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(300):
        model.train()
        optimiser.zero_grad()
        total, number = model.loss(*batch)
        (total / number).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        if step % 20 == 19:
            model.eval()
            with torch.no_grad():
                found = decode(model, model.encode(mel, feats, frames), frames, beam=4)
            gold = [row[: length - 1].tolist() for row, length in zip(tokens, lengths, strict=True)]
            wrong = sum(_distance(a, b) for a, b in zip(found, gold, strict=True))
            if wrong < 0.05 * sum(map(len, gold)):
                return
    raise AssertionError(f"{wrong} wrong of {sum(map(len, gold))}")


def _distance(a: list[int], b: list[int]) -> int:
    """Levenshtein."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


@pytest.mark.parametrize("beam", [1, 6])
def test_decoding_does_not_depend_on_the_batch(beam):
    model = model_of().eval()
    batch = example([9, 5, 7], [4, 4, 4])
    with torch.no_grad():
        together = decode(model, model.encode(*batch[:3]), batch[2], beam)
        for row in range(3):
            alone = one(batch, row)
            assert decode(model, model.encode(*alone[:3]), alone[2], beam) == together[row : row + 1]


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


def test_modality_dropout_is_for_training_alone():
    model, batch = model_of(modality_dropout=1.0, dropout=0.0), example([5, 4], [3, 2])
    plain = model_of(dropout=0.0)
    plain.load_state_dict(model.state_dict())
    assert model.train().loss(*batch)[0].item() != pytest.approx(plain.train().loss(*batch)[0].item())
    assert model.eval().loss(*batch)[0].item() == pytest.approx(plain.eval().loss(*batch)[0].item())


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


def test_starting_weights_of_another_size_are_refused():
    with pytest.raises(UsageError, match="start_from: .* does not fit; train the recognisers with the same preset"):
        model_of("av").start_from(model_of("a", units=16).state_dict(), model_of("v").state_dict())
    with pytest.raises(UsageError, match="start_from: .* does not fit"):
        model_of("a").start_from(model_of("a").state_dict(), model_of("v").state_dict())
