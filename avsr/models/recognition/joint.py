"""A frozen enhancer in front of a recogniser (AE-MSR section 4.3): rows VA and VAV of its tables."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from avsr.errors import UsageError


class Joint(nn.Module):
    """Has the interface of a recogniser whose mel input is noisy. The enhancer stays in evaluation mode, without
    gradients; only the recogniser is trained.

    UsageError when the two disagree on bands or mel set, or the enhancer needs other video than lip features.
    """

    audio_input, video_input = True, "feats"

    def __init__(self, enhancer: nn.Module, recogniser: nn.Module):
        super().__init__()
        bands = getattr(enhancer.conf, "mels", recogniser.conf.mels)  # AVSE systems have no such key, but another set
        if bands != recogniser.conf.mels:
            raise UsageError(
                f"the enhancer works on {bands} bands, the recogniser on {recogniser.conf.mels}: "
                "give both the same model.mels"
            )
        if enhancer.mel_set != recogniser.mel_set:
            raise UsageError(
                f"the enhancer works on {enhancer.mel_set}, the recogniser on {recogniser.mel_set}: "
                "choose an enhancer of the recogniser's mel set"
            )
        if not recogniser.audio_input or enhancer.video_input not in (None, "feats"):
            raise UsageError("a joint system needs a recogniser of sound and an enhancer that takes lip features")
        self.enhancer, self.recogniser = enhancer.eval().requires_grad_(False), recogniser
        self.mel_set = recogniser.mel_set

    def train(self, mode: bool = True) -> "Joint":
        super().train(mode)
        self.enhancer.eval()
        return self

    def enhance(self, mel_btf: Tensor, feats_btd: Tensor, frames_b: Tensor) -> Tensor:
        """The recogniser's mel input (b, 4t, f), without gradient."""
        with torch.no_grad():
            return self.enhancer.estimate(mel_btf, feats_btd if self.enhancer.video_input else None, frames_b)

    def fit_statistics(self, batches: Iterable[dict]) -> None:
        """Fits the recogniser to enhanced magnitudes, unless its weights came with statistics of their own."""
        self.recogniser.fit_statistics(
            batch | {"noisy_mel": self.enhance(batch["noisy_mel"], batch.get("feats"), batch["frames"])}
            for batch in batches
        )

    def start_from(self, audio: Mapping[str, Tensor], video: Mapping[str, Tensor]) -> None:
        """Starts the recogniser from those of sound and of lips, each alone or behind an enhancer of its own.

        Raises UsageError when sizes differ.
        """
        alone = [{name.removeprefix("recogniser."): own for name, own in state.items()} for state in (audio, video)]
        self.recogniser.start_from(*alone)

    def loss(
        self, mel_btf: Tensor, feats_btd: Tensor, frames_b: Tensor, tokens_bl: Tensor, token_lengths_b: Tensor,
        sampling: float = 0.0,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        inputs = self._inputs(mel_btf, feats_btd, frames_b)
        return self.recogniser.loss(*inputs, frames_b, tokens_bl, token_lengths_b, sampling)

    def encode(self, mel_btf: Tensor, feats_btd: Tensor, frames_b: Tensor):
        return self.recogniser.encode(*self._inputs(mel_btf, feats_btd, frames_b), frames_b)

    def start(self, memory):
        return self.recogniser.start(memory)

    def step(self, tokens_n: Tensor, state):
        return self.recogniser.step(tokens_n, state)

    def select(self, state, index_n: Tensor):
        return self.recogniser.select(state, index_n)

    def attention(self, memory, tokens_bl: Tensor) -> Tensor:
        return self.recogniser.attention(memory, tokens_bl)

    def _inputs(self, mel_btf: Tensor, feats_btd: Tensor, frames_b: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.enhance(mel_btf, feats_btd, frames_b), feats_btd if self.recogniser.video_input else None
