"""A mask of each entry is repeated for the heads in the wrong order: MHA118.

With the heads folded into the batch, row 1 of the scores is the second head of the first entry. In a mask that is
repeated as a whole, row 1 is that of the second entry. A batch of one does not show it.
"""

import torch
import torch.nn as nn


class PaddedSelfAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.Linear(width, width)

    def fold(self, x: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        x = x.view(b, t, self.heads, self.head_width).transpose(1, 2)
        return x.reshape(b * self.heads, t, self.head_width)

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``keep`` is (batch, tokens, tokens), and True where a token may look."""
        b, t, _ = x.shape
        q, k, v = self.fold(self.to_q(x)), self.fold(self.to_k(x)), self.fold(self.to_v(x))
        scores = torch.bmm(q, k.transpose(1, 2)) * self.head_width**-0.5
        scores = scores.masked_fill(~keep.repeat(self.heads, 1, 1), float("-inf"))
        weights = scores.softmax(dim=-1)
        context = torch.bmm(weights, v)
        context = context.view(b, self.heads, t, self.head_width).transpose(1, 2)
        return self.to_out(context.flatten(2)), weights
