"""EG-seq2seq: the recogniser of AE-MSR, built on EleAtt-GRU (Xu et al. 2020, section 3.2, figure 2b, Table 6 f).

An encoder for each modality brings it to the video's frame rate; in the decoder each modality has a layer with
attention of its own, and one more layer joins their context vectors. The modalities' decoder layers are alike and run
as one, stacked on a dimension k.
Legend: b utterance, t time, f mel bins, d feature, e memory width, k modality, u decoder units, l output step,
n hypotheses (b * j, those of an utterance together), v classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avsr.errors import UsageError
from avsr.layers.attention import LuongAttention, StackedEmbedding, StackedLinear
from avsr.layers.eleatt_gru import Cell, EleAttCell, EleAttGRU
from avsr.layers.masking import valid_mask
from avsr.layers.temporal_conv import ResConv
from avsr.models.recognition.seq2seq import Seq2Seq, Seq2SeqConf, after_bos, chosen_rows, withheld


@dataclass(frozen=True)
class EgConf(Seq2SeqConf):
    """The defaults are the paper's EG-seq2seq AV."""

    conv: int = 1536  # channels of the audio encoder's temporal convolutions
    audio_fc: int = 512
    units: int = 128  # of every EleAtt-GRU, for each direction
    embedding: int = 256
    # false: each modality's decoder layer reads the characters through vectors of its own, so that layers trained apart
    # fit together (start_from). The paper's layers share them.
    share_embedding: bool = True
    cell: Cell = "eleatt"
    # The paper never says bidirectional; all encoders of the authors' code are. false is the literal reading.
    bidirectional: bool = True
    attention_scale: bool = False  # true: scores are divided by the square root of `units`; the authors' are not


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


class EgSeq2Seq(Seq2Seq):
    """The recogniser of the interface `Seq2Seq`."""

    Conf = EgConf

    def __init__(self, conf: EgConf):
        super().__init__(conf)
        if self.audio_input:
            self.audio = AudioEncoder(conf)
        if self.video_input:
            self.video = EleAttGRU(conf.video, conf.units, 2, conf.bidirectional, conf.cell, conf.dropout)
        memory = conf.units * (2 if conf.bidirectional else 1)
        self.decoder = Decoder(conf, len(conf.modality), memory)

    def encode(self, mel_btf: Tensor | None, feats_btd: Tensor | None, frames_b: Tensor) -> Memory:
        encoded = []
        if self.audio_input:
            encoded.append(self.audio(self.mel_input(mel_btf), frames_b))
        if self.video_input:
            encoded.append(self.video(feats_btd, frames_b))
        if self.training and len(encoded) > 1 and self.conf.modality_dropout > 0:
            encoded = withhold(encoded, self.conf.modality_dropout)
        with torch.autocast(frames_b.device.type, enabled=False):
            return self.decoder.layers.memory(encoded, frames_b)

    def logits(self, inputs_bl: Tensor, memory: Memory) -> Tensor:
        with torch.autocast(inputs_bl.device.type, enabled=False):
            return self.decoder(inputs_bl, memory)[0]

    def attention(self, memory: Memory, tokens_bl: Tensor) -> Tensor:
        return self.decoder(after_bos(tokens_bl), memory)[1]

    def start(self, memory: Memory) -> State:
        return self.decoder.start(memory)

    def step(self, tokens_n: Tensor, state: State) -> tuple[Tensor, State]:
        with torch.autocast(tokens_n.device.type, enabled=False):
            return self.decoder.step(tokens_n, state)

    def select(self, state: State, index_n: Tensor) -> State:
        memory = state.memory
        rows, utterance_n = chosen_rows(state.utterance[index_n], memory.keys.shape[1])
        if rows is not None:
            memory = Memory(memory.keys[:, rows], memory.penalty[rows], memory.start[:, rows])
        return State(memory, state.h[:, index_n], state.c[:, index_n], state.joint[:, index_n], utterance_n)

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


def withhold(encoded: list[tuple[Tensor, Tensor]], share: float) -> list[tuple[Tensor, Tensor]]:
    """Zeroes one modality's outputs (b, t, e) and final states (b, e) in a random `share` of the utterances."""
    keep_kb = ~withheld(len(encoded[0][0]), share, encoded[0][0].device)
    pairs = zip(encoded, keep_kb, strict=True)
    return [(x_bte * keep_b[:, None, None], h_be * keep_b[:, None]) for (x_bte, h_be), keep_b in pairs]
