"""What every recogniser promises: padding, steps against the whole sequence, losses, decoding, and that it learns."""

from collections.abc import Callable

import pytest
import torch

from avsr.decoding.beam import decode
from avsr.errors import UsageError
from avsr.models.recognition.eg_seq2seq import EgConf, EgSeq2Seq
from avsr.models.recognition.seq2seq import Seq2Seq
from avsr.models.recognition.tm_seq2seq import TmConf, TmSeq2Seq
from avsr.text import BOS, PAD
from tests.models.utterances import example, one

KINDS = {
    "eg": lambda **options: EgSeq2Seq(EgConf(**{"conv": 64, "audio_fc": 32, "units": 32, "embedding": 32, **options})),
    "tm": lambda **options: TmSeq2Seq(
        TmConf(**{"width": 32, "heads": 4, "hidden": 64, "encoder_layers": 2, "decoder_layers": 2, **options})
    ),
}
WIDER = {"eg": {"units": 16}, "tm": {"width": 16}}


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def model_of(kind) -> Callable[..., Seq2Seq]:
    def make(modality: str = "av", **options) -> Seq2Seq:
        torch.manual_seed(1)
        return KINDS[kind](modality=modality, video=64, **options)

    return make


@pytest.mark.parametrize("modality", ["a", "v", "av"])
def test_padding_changes_nothing(model_of, modality):
    model = model_of(modality).eval()
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


def test_single_steps_make_the_whole_sequence(model_of):
    model = model_of().eval()
    batch = example([9, 5], [7, 4])
    with torch.no_grad():
        memory = model.encode(*batch[:3])
        inputs = torch.nn.functional.pad(batch[3][:, :-1], (1, 0), value=BOS)
        whole = model.logits(inputs, memory).log_softmax(-1)
        state, steps = model.start(memory), []
        for tokens in inputs.unbind(1):
            log_probs, state = model.step(tokens, state)
            steps.append(log_probs)
    torch.testing.assert_close(torch.stack(steps, dim=1), whole, rtol=0, atol=1e-5)


def test_loss_smooths_over_the_40_classes_that_are_not_pad(model_of):
    model = model_of().eval()
    batch = example([9, 5], [4, 2])
    with torch.no_grad():
        total, _ = model.loss(*batch)
        inputs = torch.nn.functional.pad(batch[3][:, :-1], (1, 0), value=BOS)
        log_probs = model.logits(inputs, model.encode(*batch[:3])).log_softmax(-1)
    expected = 0.0
    for row, length in enumerate([4, 2]):
        for step in range(length):
            target = torch.full((41,), 0.1 / 40)
            target[PAD] = 0.0
            target[batch[3][row, step]] += 0.9
            expected -= float((target * log_probs[row, step]).sum())
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_selecting_hypotheses_and_dropping_utterances(model_of):
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


def test_scheduled_sampling_draws_from_the_model_in_training_only(model_of):
    batch = example([9, 5], [7, 4])
    model = model_of(dropout=0.0)
    torch.testing.assert_close(model.eval().loss(*batch)[0], model.loss(*batch, sampling=1.0)[0])
    total = model.train().loss(*batch, sampling=1.0)[0]
    total.backward()
    assert not torch.isclose(total, model.loss(*batch)[0])
    memory = model.encode(*batch[:3])
    inputs = torch.full((2, 4), BOS)
    model.decoder.output.bias.data[17] = 1e4  # a model that is sure
    assert model._sampled_inputs(inputs, memory, 1.0).tolist() == [[BOS, 17, 17, 17]] * 2


def test_statistics_need_no_sound_in_a_lip_reader(model_of):
    mel, _, frames, *_ = example([9, 5], [3, 3])
    batches = [{"noisy_mel": mel, "frames": frames}]
    model_of("v").fit_statistics([{"frames": frames}])
    model = model_of("a")
    model.fit_statistics(batches)
    expected = torch.log(torch.cat([mel[0], mel[1, :20]]) + 1e-3).mean(0)
    torch.testing.assert_close(model.mel_input.mean, expected)


def test_bf16_autocast_runs_with_a_near_loss(model_of):
    model, batch = model_of().eval(), example([9, 5], [7, 4])
    exact, _ = model.loss(*batch)
    with torch.autocast("cpu", torch.bfloat16):
        near, _ = model.loss(*batch)
    near.backward()
    assert near.dtype == torch.float32
    assert float(near.detach()) == pytest.approx(float(exact.detach()), rel=0.02)


def test_learns_eight_clips_to_under_5_percent_of_wrong_characters(model_of):
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


@pytest.mark.parametrize("beam", [1, 6])
def test_decoding_does_not_depend_on_the_batch(model_of, beam):
    model = model_of().eval()
    batch = example([9, 5, 7], [4, 4, 4])
    with torch.no_grad():
        together = decode(model, model.encode(*batch[:3]), batch[2], beam)
        for row in range(3):
            alone = one(batch, row)
            assert decode(model, model.encode(*alone[:3]), alone[2], beam) == together[row : row + 1]


def test_modality_dropout_is_for_training_alone(model_of):
    model, batch = model_of(modality_dropout=1.0, dropout=0.0), example([5, 4], [3, 2])
    plain = model_of(dropout=0.0)
    plain.load_state_dict(model.state_dict())
    assert model.train().loss(*batch)[0].item() != pytest.approx(plain.train().loss(*batch)[0].item())
    assert model.eval().loss(*batch)[0].item() == pytest.approx(plain.eval().loss(*batch)[0].item())


def test_starting_weights_of_another_size_are_refused(model_of, kind):
    with pytest.raises(UsageError, match="start_from: .* does not fit; train the recognisers with the same preset"):
        model_of("av").start_from(model_of("a", **WIDER[kind]).state_dict(), model_of("v").state_dict())


def _distance(a: list[int], b: list[int]) -> int:
    """Levenshtein."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
