"""EG-seq2seq: the recogniser of AE-MSR, built on EleAtt-GRU (Xu et al. 2020, section 3.2, figure 2b, Table 6 f).

An encoder for each modality brings it to the video's frame rate; in the decoder each modality has a layer with
attention of its own, and one more layer joins their context vectors. The modalities' decoder layers are alike and run
as one, stacked on a dimension k.
Legend: b utterance, t time, f mel bins, d feature, e memory width, k modality, u decoder units, l output step,
n hypotheses (b * j, those of an utterance together), v classes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from avsr.errors import UsageError
from avsr.layers.attention import LuongAttention, StackedEmbedding, StackedLinear
from avsr.layers.eleatt_gru import Cell, EleAttCell, EleAttGRU
from avsr.layers.masking import valid_mask
from avsr.layers.mel_input import MelInput, Transform
from avsr.layers.temporal_conv import ResConv
from avsr.text import BOS, PAD


@dataclass(frozen=True)
class EgConf:
    """The defaults are the paper's EG-seq2seq AV."""

    modality: Literal["a", "v", "av"] = "av"
    mels: int = 80
    video: int = 512  # width of the lip features
    classes: int = 41
    conv: int = 1536  # channels of the audio encoder's temporal convolutions
    audio_fc: int = 512
    units: int = 128  # of every EleAtt-GRU, for each direction
    embedding: int = 256
    # false: each modality's decoder layer reads the characters through vectors of its own, so that layers trained apart
    # fit together (start_from). The paper's layers share them.
    share_embedding: bool = True
    dropout: float = 0.1
    cell: Cell = "eleatt"
    # The paper never says bidirectional; all encoders of the authors' code are. false is the literal reading.
    bidirectional: bool = True
    input_transform: Transform = "log_cmvn"  # none is the paper's
    label_smoothing: float = 0.1  # the paper names it without a value
    attention_scale: bool = False  # true: scores are divided by the square root of `units`; the authors' are not
    # Share of training utterances of which one modality, either, is withheld: from few hours of speech a network of two
    # learns to use one alone. The papers have none.
    modality_dropout: float = 0.0
    scheduled_sampling: float = 0.0  # share of decoder inputs taken from the model; 0 is the paper's teacher forcing


class Memory(NamedTuple):
    """What the decoder attends to: keys (k, b, t, u), score penalty (b, t; 0 or -inf), initial states (k, b, u)."""

    keys: Tensor
    penalty: Tensor
    start: Tensor


class State(NamedTuple):
    """Decoder state of n hypotheses: modality layers' h and c (k, n, u), joint layer's state (1, n, u)."""

    memory: Memory
    h: Tensor
    c: Tensor
    joint: Tensor
    utterance: Tensor  # (n,) each hypothesis's row in the memory


class AudioEncoder(nn.Module):
    """(b, 4t, f) -> memory (b, t, e) and final states (b, e): Table 6 f, an EleAtt-GRU after each halving."""

    def __init__(self, conf: EgConf):
        super().__init__()
        options = {"bidirectional": conf.bidirectional, "cell": conf.cell}
        self.fc_in = nn.Linear(conf.mels, conf.conv)
        self.conv1 = ResConv(conf.conv, conf.conv, stride=2)
        self.gru1 = EleAttGRU(conf.conv, conf.units, **options)
        self.conv2 = ResConv(self.gru1.outputs, conf.conv, stride=2)
        self.fc_out = nn.Linear(conf.conv, conf.audio_fc)
        self.gru2 = EleAttGRU(conf.audio_fc, conf.units, **options)
        self.dropout = nn.Dropout(conf.dropout)

    def forward(self, x_btf: Tensor, frames_b: Tensor) -> tuple[Tensor, Tensor]:
        x_btc = self.conv1(self.fc_in(x_btf), 4 * frames_b)
        x_btc, _ = self.gru1(x_btc, 2 * frames_b)
        x_btc = self.conv2(self.dropout(x_btc), 2 * frames_b)
        return self.gru2(self.fc_out(x_btc), frames_b)


class ModalityLayers(nn.Module):
    """The decoder's first layer, one of each of `stack` modalities: reads characters, attends to the memory."""

    def __init__(self, conf: EgConf, stack: int, memory: int):
        super().__init__()
        units = conf.units
        self.embedding = StackedEmbedding(1 if conf.share_embedding else stack, conf.classes, conf.embedding)
        # The paper's text does not mention attention; its code has Luong's, with the context fed to the next step.
        self.attention = LuongAttention(stack, memory, units, conf.attention_scale)
        self.cell = EleAttCell(conf.embedding + units, units, stack, conf.cell)
        self.bridge = StackedLinear(stack, memory, units)

    def memory(self, encoded: list[tuple[Tensor, Tensor]], frames_b: Tensor) -> Memory:
        """From each encoder's outputs (b, t, e) and final states (b, e)."""
        memory_kbte = torch.stack([outputs for outputs, _ in encoded])
        mask_bt = valid_mask(frames_b, memory_kbte.shape[2])
        penalty_bt = torch.zeros(mask_bt.shape, device=memory_kbte.device).masked_fill(~mask_bt, -torch.inf)
        start_kbu = torch.tanh(self.bridge(torch.stack([final for _, final in encoded])))
        return Memory(self.attention.keys(memory_kbte), penalty_bt.to(memory_kbte.dtype), start_kbu)

    def forward(self, embedded_kne: Tensor, state: State) -> tuple[State, Tensor]:
        """One step: new state (joint layer untouched) and attention weights (k, b, j, t)."""
        x_kne = torch.cat([embedded_kne.expand(len(state.c), -1, -1), state.c], dim=-1)
        h_knu = self.cell.step(x_kne, state.h)
        c_knu, weights = self.attention(h_knu, state.memory.keys, state.memory.penalty)
        return state._replace(h=h_knu, c=c_knu), weights


class Decoder(nn.Module):
    """Character probabilities from the memories of `stack` modalities."""

    def __init__(self, conf: EgConf, stack: int, memory: int):
        super().__init__()
        self.layers = ModalityLayers(conf, stack, memory)
        self.joint = EleAttCell(stack * conf.units, conf.units, cell=conf.cell)
        self.dropout = nn.Dropout(conf.dropout)
        self.output = nn.Linear(conf.units, conf.classes)

    def start(self, memory: Memory) -> State:
        rows = torch.arange(memory.start.shape[1], device=memory.start.device)
        zero_knu = torch.zeros_like(memory.start)
        return State(memory, memory.start, zero_knu, zero_knu[:1], rows)

    def step(self, tokens_n: Tensor, state: State) -> tuple[Tensor, State]:
        """Log-probabilities (n, v) after the given previous tokens."""
        state, _ = self.layers(self.layers.embedding(tokens_n), state)
        joint = self.joint.step(torch.cat(state.c.unbind(), dim=-1).unsqueeze(0), state.joint)
        return self.output(joint[0]).log_softmax(dim=-1), state._replace(joint=joint)

    def forward(self, inputs_bl: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """All steps with given inputs (BOS first): logits (b, l, v) and attention weights (k, b, l, t).

        The joint layer feeds nothing back, so it runs over the whole sequence afterwards.
        """
        state, contexts, weights = self.start(memory), [], []
        for embedded_kbe in self.layers.embedding(inputs_bl).unbind(2):
            state, weights_kbjt = self.layers(embedded_kbe, state)
            contexts.append(torch.cat(state.c.unbind(), dim=-1))
            weights.append(weights_kbjt)
        joint_lbu = self.joint(torch.stack(contexts).unsqueeze(0))[0]
        return self.output(self.dropout(joint_lbu)).transpose(0, 1), torch.cat(weights, dim=2)


class EgSeq2Seq(nn.Module):
    """Recogniser interface: loss, encode, start, step, select, fit_statistics. Mel magnitudes are linear."""

    Conf = EgConf
    mel_set = "mel_htk"

    def __init__(self, conf: EgConf):
        super().__init__()
        self.conf = conf
        self.audio_input = "a" in conf.modality
        self.video_input = "feats" if "v" in conf.modality else None
        if self.audio_input:
            self.mel_input = MelInput(conf.mels, conf.input_transform)
            self.audio = AudioEncoder(conf)
        if self.video_input:
            self.video = EleAttGRU(conf.video, conf.units, 2, conf.bidirectional, conf.cell, conf.dropout)
        memory = conf.units * (2 if conf.bidirectional else 1)
        self.decoder = Decoder(conf, len(conf.modality), memory)

    def fit_statistics(self, batches: Iterable[dict]) -> None:
        """Sets the input transform's statistics from training batches (their `noisy_mel` and `frames`)."""
        if self.audio_input:
            self.mel_input.fit(batches)

    def encode(self, mel_btf: Tensor | None, feats_btd: Tensor | None, frames_b: Tensor) -> Memory:
        """Mel magnitude (b, 4t, f), lip features (b, t, d), each None where it is no input; video frames (b,)."""
        encoded = []
        if self.audio_input:
            encoded.append(self.audio(self.mel_input(mel_btf), frames_b))
        if self.video_input:
            encoded.append(self.video(feats_btd, frames_b))
        if self.training and len(encoded) > 1 and self.conf.modality_dropout > 0:
            encoded = withhold(encoded, self.conf.modality_dropout)
        with torch.autocast(frames_b.device.type, enabled=False):
            return self.decoder.layers.memory(encoded, frames_b)

    def start(self, memory: Memory) -> State:
        """The state before BOS, one hypothesis an utterance."""
        return self.decoder.start(memory)

    @torch.no_grad()
    def start_from(self, audio: Mapping[str, Tensor], video: Mapping[str, Tensor]) -> None:
        """Takes over the weights of a recogniser of sound and of one of lips: encoders, decoder layers and characters'
        vectors (where they are shared those of lips, which are learnt slowest). The layers that join the two begin
        anew. (AE-MSR names no such start; the authors of TM-seq2seq train theirs so.)

        Raises UsageError when sizes differ.
        """
        for name, own in self.state_dict().items():
            if name == "decoder.layers.embedding.weight":
                parts = [state.get(name) for state in (audio, video)[-len(own) :]]
            elif name.startswith("decoder.layers."):
                parts = [state.get(name) for state in (audio, video)]
            elif name.startswith(("mel_input.", "audio.")):
                parts = [audio.get(name)]
            elif name.startswith("video."):
                parts = [video.get(name)]
            else:
                continue
            fit = all(part is not None and part.shape[1:] == own.shape[1:] for part in parts)
            weights = torch.cat(parts) if fit and len(parts) > 1 else parts[0]
            if not fit or weights.shape != own.shape:
                raise UsageError(f"start_from: {name} does not fit; train the recognisers with the same preset")
            own.copy_(weights)

    def step(self, tokens_n: Tensor, state: State) -> tuple[Tensor, State]:
        """Previous tokens (BOS at first) -> log-probabilities of the next (n, v) and the state behind them."""
        with torch.autocast(tokens_n.device.type, enabled=False):
            return self.decoder.step(tokens_n, state)

    def select(self, state: State, index_n: Tensor) -> State:
        """The chosen hypotheses. Those of an utterance must stay together, equally many of each."""
        memory, utterance_n = state.memory, state.utterance[index_n]
        rows = torch.unique_consecutive(utterance_n)
        if len(rows) < memory.keys.shape[1]:
            memory = Memory(memory.keys[:, rows], memory.penalty[rows], memory.start[:, rows])
            utterance_n = torch.searchsorted(rows, utterance_n)
        return State(memory, state.h[:, index_n], state.c[:, index_n], state.joint[:, index_n], utterance_n)

    def attention(self, memory: Memory, tokens_bl: Tensor) -> Tensor:
        """Attention weights (k, b, l, t) while the given tokens are written; modalities in the order audio, video."""
        return self.decoder(_inputs(tokens_bl), memory)[1]

    def loss(
        self,
        mel_btf: Tensor | None,
        feats_btd: Tensor | None,
        frames_b: Tensor,
        tokens_bl: Tensor,
        token_lengths_b: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Sum of the cross-entropies of the real tokens (each ends with EOS) and their number.

        Label smoothing spreads its mass over all classes but PAD.
        """
        memory = self.encode(mel_btf, feats_btd, frames_b)
        with torch.autocast(frames_b.device.type, enabled=False):
            inputs_bl = _inputs(tokens_bl)
            if self.training and self.conf.scheduled_sampling > 0:
                inputs_bl = self._sampled_inputs(inputs_bl, memory)
            log_probs_blv = self.decoder(inputs_bl, memory)[0].log_softmax(dim=-1)
        gold_bl = log_probs_blv.gather(2, tokens_bl.unsqueeze(2)).squeeze(2)
        others_bl = (log_probs_blv.sum(dim=2) - log_probs_blv[..., PAD]) / (self.conf.classes - 1)
        smoothing = self.conf.label_smoothing
        loss_bl = -(1 - smoothing) * gold_bl - smoothing * others_bl
        return (loss_bl * valid_mask(token_lengths_b, tokens_bl.shape[1])).sum(), token_lengths_b.sum()

    @torch.no_grad()
    def _sampled_inputs(self, inputs_bl: Tensor, memory: Memory) -> Tensor:
        """Scheduled sampling (Bengio et al. 2015): some inputs are draws from the model's own prediction.

        No gradient passes through a draw, so they are made beforehand and the loss then takes them as given.
        """
        state, inputs = self.decoder.start(memory), [inputs_bl[:, 0]]
        swap_bl = torch.rand(inputs_bl.shape, device=inputs_bl.device) < self.conf.scheduled_sampling
        for number in range(1, inputs_bl.shape[1]):
            log_probs_bv, state = self.decoder.step(inputs[-1], state)
            drawn_b = torch.multinomial(log_probs_bv.exp(), 1).squeeze(1)
            inputs.append(torch.where(swap_bl[:, number], drawn_b, inputs_bl[:, number]))
        return torch.stack(inputs, dim=1)


def withhold(encoded: list[tuple[Tensor, Tensor]], share: float) -> list[tuple[Tensor, Tensor]]:
    """Zeroes one modality's outputs (b, t, e) and final states (b, e) in a random `share` of the utterances."""
    outputs = encoded[0][0]
    dropped_b = torch.rand(len(outputs), device=outputs.device) < share
    which_b = torch.randint(len(encoded), (len(outputs),), device=outputs.device)
    kept = []
    for number, (outputs_bte, final_be) in enumerate(encoded):
        keep_b1 = (~dropped_b | (which_b != number)).unsqueeze(1)
        kept.append((outputs_bte * keep_b1.unsqueeze(2), final_be * keep_b1))
    return kept


def _inputs(tokens_bl: Tensor) -> Tensor:
    """BOS, then all tokens but the last."""
    return torch.nn.functional.pad(tokens_bl[:, :-1], (1, 0), value=BOS)
