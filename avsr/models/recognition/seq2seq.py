"""What the recognisers of AE-MSR have in common: inputs, loss, and the places where modalities are withheld.

Legend: b utterance, t time, f mel bins, d feature, e memory width, k modality, l output step, n hypotheses (b * j,
those of an utterance together), v classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from avsr.features.mel import ae_msr_set
from avsr.layers.masking import valid_mask
from avsr.layers.mel_input import MelInput, Transform
from avsr.text import BOS, PAD


@dataclass(frozen=True)
class Seq2SeqConf:
    """Options of every recogniser."""

    modality: Literal["a", "v", "av"] = "av"
    mels: int = 80  # bands of mel_htk; 321: the bins of the STFT as they are
    video: int = 512  # width of the lip features
    classes: int = 41
    dropout: float = 0.1
    input_transform: Transform = "log_cmvn"  # none is the paper's
    label_smoothing: float = 0.1  # the paper names it without a value
    # Share of training utterances of which one modality, either, is withheld: from few hours of speech a network of two
    # learns to use one alone. The papers have none.
    modality_dropout: float = 0.0


class Seq2Seq(nn.Module):
    """Recogniser interface: loss, encode, start, step, select, attention, fit_statistics, start_from.

    Mel magnitudes are linear; with 321 `mels` they are magnitudes of the STFT's bins. A subclass encodes (`encode`),
    writes step by step (`start`, `step`, `select`), and gives all steps of a known text at once (`logits`).
    """

    def __init__(self, conf: Seq2SeqConf):
        super().__init__()
        self.conf = conf
        self.mel_set = ae_msr_set(conf.mels)
        self.audio_input = "a" in conf.modality
        self.video_input = "feats" if "v" in conf.modality else None
        if self.audio_input:
            self.mel_input = MelInput(conf.mels, conf.input_transform)

    def fit_statistics(self, batches: Iterable[dict]) -> None:
        """Sets the input transform's statistics from training batches (their `noisy_mel` and `frames`)."""
        if self.audio_input:
            self.mel_input.fit(batches)

    def encode(self, mel_btf: Tensor | None, feats_btd: Tensor | None, frames_b: Tensor) -> Any:
        """Mel magnitude (b, 4t, f), lip features (b, t, d), each None where it is no input; video frames (b,)."""
        raise NotImplementedError

    def logits(self, inputs_bl: Tensor, memory: Any) -> Tensor:
        """Of all steps with given inputs (BOS first): (b, l, v)."""
        raise NotImplementedError

    def attention(self, memory: Any, tokens_bl: Tensor) -> Tensor:
        """Attention weights (k, b, l, t) while the given tokens are written; modalities in the order audio, video."""
        raise NotImplementedError

    def start(self, memory: Any) -> Any:
        """The state before BOS, one hypothesis an utterance."""
        raise NotImplementedError

    def step(self, tokens_n: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Previous tokens (BOS at first) -> log-probabilities of the next (n, v) and the state behind them."""
        raise NotImplementedError

    def select(self, state: Any, index_n: Tensor) -> Any:
        """The chosen hypotheses. Those of an utterance must stay together, equally many of each."""
        raise NotImplementedError

    def loss(
        self,
        mel_btf: Tensor | None,
        feats_btd: Tensor | None,
        frames_b: Tensor,
        tokens_bl: Tensor,
        token_lengths_b: Tensor,
        sampling: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropies of the real tokens (each ends with EOS) and their number.

        Label smoothing spreads its mass over all classes but PAD. In training a share `sampling` of the decoder's
        inputs is taken from the model; 0 is the paper's teacher forcing.
        """
        memory = self.encode(mel_btf, feats_btd, frames_b)
        inputs_bl = after_bos(tokens_bl)
        if self.training and sampling > 0:
            inputs_bl = self._sampled_inputs(inputs_bl, memory, sampling)
        log_probs_blv = self.logits(inputs_bl, memory).float().log_softmax(dim=-1)
        gold_bl = log_probs_blv.gather(2, tokens_bl.unsqueeze(2)).squeeze(2)
        others_bl = (log_probs_blv.sum(dim=2) - log_probs_blv[..., PAD]) / (self.conf.classes - 1)
        smoothing = self.conf.label_smoothing
        loss_bl = -(1 - smoothing) * gold_bl - smoothing * others_bl
        return (loss_bl * valid_mask(token_lengths_b, tokens_bl.shape[1])).sum(), token_lengths_b.sum()

    @torch.no_grad()
    def _sampled_inputs(self, inputs_bl: Tensor, memory: Any, share: float) -> Tensor:
        """Scheduled sampling (Bengio et al. 2015): a share of the inputs are draws from the model's own prediction.

        No gradient passes through a draw, so they are made beforehand and the loss then takes them as given.
        """
        state, inputs = self.start(memory), [inputs_bl[:, 0]]
        swap_bl = torch.rand(inputs_bl.shape, device=inputs_bl.device) < share
        for number in range(1, inputs_bl.shape[1]):
            log_probs_bv, state = self.step(inputs[-1], state)
            drawn_b = torch.multinomial(log_probs_bv.exp(), 1).squeeze(1)
            inputs.append(torch.where(swap_bl[:, number], drawn_b, inputs_bl[:, number]))
        return torch.stack(inputs, dim=1)


def withheld(batch: int, share: float, device: torch.device) -> Tensor:
    """Which modality of each of `batch` utterances is withheld (2, b), bool: of a random `share` one of the two."""
    dropped_b = torch.rand(batch, device=device) < share
    which_b = torch.randint(2, (batch,), device=device)
    return torch.stack([dropped_b & (which_b == number) for number in range(2)])


def chosen_rows(utterance_n: Tensor, utterances: int) -> tuple[Tensor | None, Tensor]:
    """Which of a memory's rows some hypotheses still need (None: all of `utterances`), and their rows among those."""
    rows = torch.unique_consecutive(utterance_n)
    if len(rows) == utterances:
        return None, utterance_n
    return rows, torch.searchsorted(rows, utterance_n)


def after_bos(tokens_bl: Tensor) -> Tensor:
    """What the decoder reads while it writes the tokens: BOS, then all of them but the last."""
    return torch.nn.functional.pad(tokens_bl[:, :-1], (1, 0), value=BOS)
