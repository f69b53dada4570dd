"""2-D convolution blocks of the enhancement networks: convolution, batch norm, ELU.

Tensors are (n, c, f, t): folded batch, channels, frequency (picture rows), time (picture columns).
A mask (n, t), where given, marks the valid columns: the others stay out of the batch statistics and are set to zero,
so that padding at the end of an utterance changes neither the statistics nor what a later convolution sees.
"""

from torch import Tensor, nn

from avsr.layers.masking import valid_mask


class MaskedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the valid columns only; same parameters and buffers as `nn.BatchNorm2d`."""

    def forward(self, x_ncft: Tensor, mask_nt: Tensor | None = None) -> Tensor:
        if mask_nt is None:
            return super().forward(x_ncft)
        valid_mcf1 = x_ncft.permute(0, 3, 1, 2)[mask_nt].unsqueeze(-1)
        y_ntcf = x_ncft.new_zeros(x_ncft.permute(0, 3, 1, 2).shape)
        normal_mcf = super().forward(valid_mcf1).squeeze(-1)
        y_ntcf[mask_nt] = normal_mcf.to(y_ntcf.dtype)
        return y_ntcf.permute(0, 2, 3, 1)


def keep_valid(x_ncft: Tensor, mask_nt: Tensor | None) -> Tensor:
    """Zero in the columns that the mask leaves out."""
    return x_ncft if mask_nt is None else x_ncft * mask_nt[:, None, None, :]


class ConvBlock(nn.Module):
    """Convolution with "same" padding (k // 2), batch norm, ELU: (n, c_in, f, t) -> (n, c_out, f / stride, t / stride).

    `forward` takes the mask of its OUTPUT columns.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: tuple[int, int] = (1, 1)):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2)
        self.norm = MaskedBatchNorm2d(c_out)

    def forward(self, x_ncft: Tensor, mask_nt: Tensor | None = None) -> Tensor:
        return keep_valid(nn.functional.elu(self.norm(self.conv(x_ncft), mask_nt)), mask_nt)


class DeconvBlock(nn.Module):
    """Transposed 3x3 convolution to `stride` times the size; batch norm and ELU unless `last` (then linear).

    `forward` may be told the size (f, t) of its output: a strided convolution rounds up, so that two sizes lead to one.
    """

    def __init__(self, c_in: int, c_out: int, stride: tuple[int, int], last: bool = False):
        super().__init__()
        output_padding = (stride[0] - 1, stride[1] - 1)
        self.conv = nn.ConvTranspose2d(c_in, c_out, 3, stride, padding=1, output_padding=output_padding)
        self.norm = None if last else MaskedBatchNorm2d(c_out)

    def forward(self, x_ncft: Tensor, mask_nt: Tensor | None = None, size: tuple[int, int] | None = None) -> Tensor:
        y_ncft = self.conv(x_ncft, size)
        if self.norm is None:
            return y_ncft
        return keep_valid(nn.functional.elu(self.norm(y_ncft, mask_nt)), mask_nt)


def column_mask(lengths_n: Tensor, columns: int) -> Tensor | None:
    """(n, columns) mask of the first `lengths_n` columns; None when every column is valid (nothing to leave out)."""
    if bool((lengths_n >= columns).all()):
        return None
    return valid_mask(lengths_n, columns)
