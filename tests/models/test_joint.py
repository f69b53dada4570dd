"""A frozen enhancer in front of a recogniser."""

import pytest
import torch

from avsr.decoding.beam import decode
from avsr.errors import UsageError
from avsr.models.enhancement.ae import Ae, AeConf
from avsr.models.recognition.eg_seq2seq import EgConf, EgSeq2Seq
from avsr.models.recognition.joint import Joint
from avsr.training.freezing import freeze, trainable


def joint_of(modality: str) -> Joint:
    torch.manual_seed(1)
    enhancer = Ae(AeConf(hidden=16, stream=16, units=16, fc=16, dropout=0.5))
    recogniser = EgSeq2Seq(EgConf(modality=modality, conv=16, audio_fc=16, units=16, embedding=16))
    return Joint(enhancer, recogniser)


def example() -> list[torch.Tensor]:
    torch.manual_seed(2)
    tokens = torch.randint(3, 41, (2, 5))
    return [torch.rand(2, 24, 80), torch.randn(2, 6, 512), torch.tensor([6, 4]), tokens, torch.tensor([5, 4])]


@pytest.mark.parametrize("modality", ["a", "av"])
def test_is_the_recogniser_on_enhanced_sound(modality):
    joint, (mel, feats, frames, tokens, lengths) = joint_of(modality).eval(), example()
    enhanced = joint.enhancer.estimate(mel, feats, frames)
    lips = feats if modality == "av" else None
    expected = joint.recogniser.loss(enhanced, lips, frames, tokens, lengths)
    torch.testing.assert_close(joint.loss(mel, feats, frames, tokens, lengths), expected)
    with torch.no_grad():
        plain = decode(joint.recogniser, joint.recogniser.encode(enhanced, lips, frames), frames, beam=3)
        assert decode(joint, joint.encode(mel, feats, frames), frames, beam=3) == plain


def test_training_leaves_the_enhancer_as_it_is():
    joint, batch = joint_of("av").train(), example()
    assert joint.recogniser.training and not any(part.training for part in joint.enhancer.modules())
    assert torch.equal(joint.enhance(*batch[:3]), joint.enhance(*batch[:3]))  # no dropout
    before = {name: value.clone() for name, value in joint.state_dict().items()}
    optimiser = torch.optim.Adam((p for p in joint.parameters() if p.requires_grad), 1e-2)
    total, _ = joint.loss(*batch)
    total.backward()
    optimiser.step()
    assert all(p.grad is None for p in joint.enhancer.parameters())
    changed = {name for name, value in joint.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("recogniser.") for name in changed)


def test_no_phase_lets_the_enhancer_move():
    joint = joint_of("a")
    freeze(joint, (), trainable(joint))
    assert not any(weight.requires_grad for weight in joint.enhancer.parameters())
    assert all(weight.requires_grad for weight in joint.recogniser.parameters())


def test_statistics_are_those_of_enhanced_sound_unless_the_recogniser_has_its_own():
    joint, (mel, feats, frames, *_) = joint_of("a"), example()
    batches = [{"noisy_mel": mel, "feats": feats, "frames": frames}]
    joint.fit_statistics(batches)
    enhanced = joint.enhance(mel, feats, frames)
    expected = torch.log(torch.cat([enhanced[0], enhanced[1, :16]]) + 1e-3).mean(0)
    torch.testing.assert_close(joint.recogniser.mel_input.mean, expected)
    joint.fit_statistics([{**batches[0], "noisy_mel": 10 * mel}])
    torch.testing.assert_close(joint.recogniser.mel_input.mean, expected)


def test_parts_that_do_not_fit_are_refused():
    joint = joint_of("av")
    other = joint.enhancer
    other.mel_set = "mel_slaney"
    with pytest.raises(UsageError, match="mel_slaney.*mel_htk"):
        Joint(other, joint.recogniser)
    other.mel_set = "mel_htk"
    with pytest.raises(UsageError, match="the enhancer works on 321 bands, the recogniser on 80: give both the same"):
        Joint(Ae(AeConf(mels=321, hidden=16, stream=16, units=16, fc=16)), joint.recogniser)
    with pytest.raises(UsageError, match="needs a recogniser of sound"):
        Joint(other, EgSeq2Seq(EgConf(modality="v", conv=16, audio_fc=16, units=16, embedding=16)))


def test_the_recogniser_may_start_from_those_of_sound_and_of_lips_alone_or_joint():
    joint, sound = joint_of("av"), joint_of("a")
    lips = EgSeq2Seq(EgConf(modality="v", conv=16, audio_fc=16, units=16, embedding=16))
    expected = joint_of("av").recogniser
    expected.start_from(sound.recogniser.state_dict(), lips.state_dict())
    enhancer = {name: value.clone() for name, value in joint.enhancer.state_dict().items()}
    torch.nn.init.zeros_(next(sound.enhancer.parameters()))  # which is not taken over
    joint.start_from(sound.state_dict(), lips.state_dict())
    torch.testing.assert_close(joint.recogniser.state_dict(), expected.state_dict())
    torch.testing.assert_close(joint.enhancer.state_dict(), enhancer)
