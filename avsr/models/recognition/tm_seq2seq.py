"""TM-seq2seq: the Transformer recogniser that AE-MSR compares with (Afouras et al. 2018; Xu et al. 2020, Tables 2, 3).

An encoder for each modality at the video's frame rate; a decoder whose layers attend to each of them and join them.
Where Afouras et al. feed a 321-bin spectrogram (here `mels: 321`), every recogniser of AE-MSR hears the same mel
magnitude: four frames of it make one of the encoder's.
Legend: b utterance, t video frames, f mel bins, d width, k modality, l output step, n hypotheses (b * j, those of an
utterance together), h heads, c width of a head, v classes, i layer.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avsr.errors import UsageError
from avsr.layers.masking import valid_mask
from avsr.layers.transformer import DecoderLayer, Encoder, FeedForward, Keys, MultiHeadAttention, positions
from avsr.models.recognition.seq2seq import Seq2Seq, Seq2SeqConf, after_bos, chosen_rows, withheld


@dataclass(frozen=True)
class TmConf(Seq2SeqConf):
    """The defaults are the TM-seq2seq AV of the paper's Table 3."""

    width: int = 512
    heads: int = 8
    hidden: int = 2048  # of the feed-forward layers
    encoder_layers: int = 6
    decoder_layers: int = 6
    # Every residual branch starts at zero, so that twelve layers learn from few hours of speech too. Not in the papers.
    zero_start: bool = False


class Memory(NamedTuple):
    """What the decoder attends to: for each layer keys and values of each modality (b, h, t, c), and which are real."""

    layers: list[list[Keys]]
    mask: Tensor  # (b, 1, 1, t) bool


class State(NamedTuple):
    """Decoder state of n hypotheses: keys and values of the tokens read so far in each layer, (i, n, h, l, c)."""

    memory: Memory
    keys: Tensor
    values: Tensor
    utterance: Tensor  # (n,) each hypothesis's row in the memory


class Decoder(nn.Module):
    """Character probabilities from the memories of `modalities` modalities."""

    def __init__(self, conf: TmConf, modalities: int):
        super().__init__()
        self.embedding = nn.Embedding(conf.classes, conf.width)
        nn.init.normal_(self.embedding.weight, std=conf.width**-0.5)
        sizes = (modalities, conf.width, conf.heads, conf.hidden, conf.dropout)
        self.layers = nn.ModuleList(DecoderLayer(*sizes) for _ in range(conf.decoder_layers))
        self.dropout = nn.Dropout(conf.dropout)
        self.output = nn.Linear(conf.width, conf.classes)

    def memory(self, encoded: list[Tensor], mask_bt: Tensor) -> Memory:
        """From each encoder's outputs (b, t, d)."""
        layers = [
            [attention.memory(x_btd) for attention, x_btd in zip(layer.modalities, encoded, strict=True)]
            for layer in self.layers
        ]
        return Memory(layers, mask_bt[:, None, None])

    def embed(self, tokens_bl: Tensor, first: int = 0) -> Tensor:
        """Character vectors with their positions, the first of which is `first`."""
        x_bld = self.embedding(tokens_bl) * math.sqrt(self.embedding.embedding_dim)
        return self.dropout(x_bld + positions(x_bld.shape[1], x_bld.shape[2], x_bld, first))

    def forward(self, inputs_bl: Tensor, memory: Memory) -> Tensor:
        """Logits (b, l, v) of all steps."""
        x_bld = self.embed(inputs_bl)
        for layer, memories in zip(self.layers, memory.layers, strict=True):
            x_bld = layer(x_bld, layer.attention.memory(x_bld), memories, memory.mask, causal=True)
        return self.output(x_bld)

    def step(self, tokens_n: Tensor, state: State) -> tuple[Tensor, State]:
        """Log-probabilities (n, v) after the given previous tokens."""
        x_nld = self.embed(tokens_n.unsqueeze(1), state.keys.shape[3])
        together = len(tokens_n) // len(state.memory.mask)
        keys, values = [], []
        for number, (layer, memories) in enumerate(zip(self.layers, state.memory.layers, strict=True)):
            key, value = layer.attention.memory(x_nld)
            keys.append(torch.cat([state.keys[number], key], dim=2))
            values.append(torch.cat([state.values[number], value], dim=2))
            past = (keys[-1], values[-1])
            x_nld = layer(x_nld, past, memories, state.memory.mask, causal=False, together=together)
        new = state._replace(keys=torch.stack(keys), values=torch.stack(values))
        return self.output(x_nld[:, 0]).float().log_softmax(dim=-1), new

    def weights(self, inputs_bl: Tensor, memory: Memory) -> Tensor:
        """Attention weights (k, b, l, t) of the last layer, the mean over its heads."""
        x_bld = self.embed(inputs_bl)
        for layer, memories in zip(self.layers[:-1], memory.layers[:-1], strict=True):
            x_bld = layer(x_bld, layer.attention.memory(x_bld), memories, memory.mask, causal=True)
        last = self.layers[-1]
        found = last.attention(x_bld, last.attention.memory(x_bld), None, causal=True)
        q_bld = last.norms[0](x_bld + last.dropout(found))
        pairs = zip(last.modalities, memory.layers[-1], strict=True)
        return torch.stack([attention.weights(q_bld, keys, memory.mask) for attention, keys in pairs])


class TmSeq2Seq(Seq2Seq):
    """The recogniser of the interface `Seq2Seq`."""

    Conf = TmConf

    def __init__(self, conf: TmConf):
        super().__init__(conf)
        sizes = (conf.encoder_layers, conf.width, conf.heads, conf.hidden, conf.dropout)
        if self.audio_input:
            self.audio_fc = nn.Linear(4 * conf.mels, conf.width)
            self.audio = Encoder(*sizes)
        if self.video_input:
            # Lip features as wide as the network go in as they are.
            self.video_fc = nn.Linear(conf.video, conf.width) if conf.video != conf.width else nn.Identity()
            self.video = Encoder(*sizes)
        self.decoder = Decoder(conf, len(conf.modality))
        if conf.zero_start:
            for module in self.modules():
                if isinstance(module, MultiHeadAttention):
                    nn.init.zeros_(module.output.weight)
                elif isinstance(module, FeedForward):
                    nn.init.zeros_(module[-1].weight)

    def encode(self, mel_btf: Tensor | None, feats_btd: Tensor | None, frames_b: Tensor) -> Memory:
        inputs = []
        if self.audio_input:
            inputs.append(self.audio_fc(self.mel_input(mel_btf).unflatten(1, (-1, 4)).flatten(2)))
        if self.video_input:
            inputs.append(self.video_fc(feats_btd))
        mask_bt = valid_mask(frames_b, inputs[0].shape[1])
        encoders = [getattr(self, name) for name in ("audio", "video") if hasattr(self, name)]
        # Padding is zeroed, for rubbish in it may be infinite and 0 * inf is not 0.
        inputs = [x_btd * mask_bt.unsqueeze(-1) for x_btd in inputs]
        encoded = [encoder(x_btd, mask_bt[:, None, None]) for encoder, x_btd in zip(encoders, inputs, strict=True)]
        if self.training and len(encoded) > 1 and self.conf.modality_dropout > 0:
            keep_kb = ~withheld(len(frames_b), self.conf.modality_dropout, frames_b.device)
            encoded = [x_btd * keep_b[:, None, None] for x_btd, keep_b in zip(encoded, keep_kb, strict=True)]
        return self.decoder.memory(encoded, mask_bt)

    def logits(self, inputs_bl: Tensor, memory: Memory) -> Tensor:
        return self.decoder(inputs_bl, memory)

    def start(self, memory: Memory) -> State:
        keys_bhtc = memory.layers[0][0][0]
        batch, heads, _, width = keys_bhtc.shape
        empty = keys_bhtc.new_empty((len(memory.layers), batch, heads, 0, width))
        return State(memory, empty, empty, torch.arange(batch, device=empty.device))

    def step(self, tokens_n: Tensor, state: State) -> tuple[Tensor, State]:
        return self.decoder.step(tokens_n, state)

    def select(self, state: State, index_n: Tensor) -> State:
        memory = state.memory
        rows, utterance_n = chosen_rows(state.utterance[index_n], len(memory.mask))
        if rows is not None:
            layers = [[(keys[rows], values[rows]) for keys, values in layer] for layer in memory.layers]
            memory = Memory(layers, memory.mask[rows])
        return State(memory, state.keys[:, index_n], state.values[:, index_n], utterance_n)

    def attention(self, memory: Memory, tokens_bl: Tensor) -> Tensor:
        return self.decoder.weights(after_bos(tokens_bl), memory)

    @torch.no_grad()
    def start_from(self, audio: Mapping[str, Tensor], video: Mapping[str, Tensor]) -> None:
        """Takes over the weights of a recogniser of sound and of one of lips: encoders, the decoder's attention to
        each, and the rest of the decoder from that of sound, which is learnt soonest. The layer that reads both
        contexts starts as if there were sound alone.

        Raises UsageError when sizes differ.
        """
        for name, own in self.state_dict().items():
            if re.match(r"video|decoder\..*\.(modalities\.1|norms\.2)\.", name):
                weights = video.get(_of_one(name))
            else:
                weights = audio.get(name.replace(".norms.3.", ".norms.2."))
            if weights is not None and re.search(r"feed_forward\.0\.weight", name) and name.startswith("decoder."):
                weights = torch.cat([weights, torch.zeros_like(weights)], dim=1)
            if weights is None or weights.shape != own.shape:
                raise UsageError(f"start_from: {name} does not fit; train the recognisers with the same preset")
            own.copy_(weights)


def _of_one(name: str) -> str:
    """The name of a decoder weight of the second modality in a recogniser of that modality alone."""
    return name.replace(".modalities.1.", ".modalities.0.").replace(".norms.2.", ".norms.1.")
