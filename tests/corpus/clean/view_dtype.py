# run: BitwiseMask()(torch.randn(2, 3, 4, 5))
import torch
from torch import nn


class BitwiseMask(nn.Module):
    """Looks at the bits of scores: `.view` with a dtype is another thing altogether."""

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        swapped = scores.transpose(1, 2)
        bits = swapped.view(torch.int32)
        same = swapped.view(dtype=torch.int32)
        mantissa = (bits & same) & 0x007FFFFF
        return mantissa.to(torch.float32)
