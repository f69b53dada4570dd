"""The streams of AE-MSR's two audio enhancement sub-networks (Xu et al. 2020, figure 3, Table 6 a to d).

An audio stream keeps the rate of the mel frames, a video stream brings the video's frames to it: four to one.
Legend: b batch, t time (video frames, or mel frames: 4 to one), f mel bins, d feature, c channels.
"""

from torch import Tensor, nn

from avsr.layers.masking import valid_mask
from avsr.layers.tcn import Tcn, TcnUp
from avsr.layers.temporal_conv import ResConv, ResUp


class TcnAudio(nn.Module):
    """(b, 4t, f) -> (b, 4t, outputs), Table 6 c. Causal, so padding needs no care."""

    def __init__(self, mels: int, hidden: int, outputs: int, dropout: float):
        super().__init__()
        self.fc_in, self.fc_out = nn.Linear(mels, hidden), nn.Linear(hidden, outputs)
        self.tcn = Tcn(hidden, dropout=dropout)

    def forward(self, x_btf: Tensor, frames_b: Tensor) -> Tensor:
        return self.fc_out(self.tcn(self.fc_in(x_btf).transpose(1, 2)).transpose(1, 2))


class TcnVideo(nn.Module):
    """(b, t, d) -> (b, 4t, outputs), Table 6 d. The table's T for its second TCN row can only be 2T."""

    def __init__(self, features: int, hidden: int, outputs: int, dropout: float):
        super().__init__()
        self.fc_in, self.fc_out = nn.Linear(features, hidden), nn.Linear(hidden, outputs)
        self.tcns = nn.ModuleList(Tcn(hidden, dropout=dropout) for _ in range(2))
        self.ups = nn.ModuleList(TcnUp(hidden) for _ in range(2))

    def forward(self, x_btd: Tensor, frames_b: Tensor) -> Tensor:
        x_bct = self.fc_in(x_btd).transpose(1, 2)
        for rate, (tcn, up) in enumerate(zip(self.tcns, self.ups, strict=True), start=1):
            x_bct = tcn(x_bct)
            x_bct = up(x_bct * valid_mask(rate * frames_b, x_bct.shape[2]).unsqueeze(1))
        return self.fc_out(x_bct.transpose(1, 2))


class ResAudio(nn.Module):
    """(b, 4t, f) -> (b, 4t, outputs), Table 6 b: five blocks. The table's 2T in its first row can only be 4T."""

    def __init__(self, mels: int, hidden: int, outputs: int):
        super().__init__()
        self.fc_in, self.fc_out = nn.Linear(mels, hidden), nn.Linear(hidden, outputs)
        self.convs = nn.ModuleList(ResConv(hidden, hidden) for _ in range(5))

    def forward(self, x_btf: Tensor, frames_b: Tensor) -> Tensor:
        x_btc = self.fc_in(x_btf)
        for conv in self.convs:
            x_btc = conv(x_btc, 4 * frames_b)
        return self.fc_out(x_btc)


class ResVideo(nn.Module):
    """(b, t, d) -> (b, 4t, outputs), Table 6 a: nine blocks, of which the third and the seventh double the rate."""

    def __init__(self, features: int, hidden: int, outputs: int):
        super().__init__()
        self.fc_in, self.fc_out = nn.Linear(features, hidden), nn.Linear(hidden, outputs)
        self.convs = nn.ModuleList(
            ResUp(hidden) if number in (3, 7) else ResConv(hidden, hidden) for number in range(1, 10)
        )

    def forward(self, x_btd: Tensor, frames_b: Tensor) -> Tensor:
        x_btc, lengths_b = self.fc_in(x_btd), frames_b
        for conv in self.convs:
            x_btc = conv(x_btc, lengths_b)
            lengths_b = 2 * lengths_b if isinstance(conv, ResUp) else lengths_b
        return self.fc_out(x_btc)
