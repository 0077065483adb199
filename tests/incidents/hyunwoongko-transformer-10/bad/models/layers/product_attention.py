import math

from torch import nn


class ProductAttention(nn.Module):
    """Query: what asks; key: what is asked; value: what is given."""

    def __init__(self):
        super().__init__()
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, q, k, v, mask=None, e=1e-12):
        batch_size, head, length, d_tensor = k.size()
        k_t = k.transpose(2, 3)
        score = (q @ k_t) / math.sqrt(d_tensor)
        if mask is not None:
            score = score.masked_fill(mask == 0, -e)  # expect: MHA111
        score = self.softmax(score)
        return score @ v, score
