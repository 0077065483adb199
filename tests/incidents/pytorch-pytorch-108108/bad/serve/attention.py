from typing import Optional

import torch.nn.functional as F
from serve.cache import KeyValueCache
from torch import nn


class ChunkAttention(nn.Module):
    """The prompt is read in chunks."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(width, width, bias=False) for _ in range(4))

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x, cache: Optional[KeyValueCache] = None):
        q, k, v = self.split(self.wq(x)), self.split(self.wk(x)), self.split(self.wv(x))
        if cache is not None:
            k, v = cache.update(k, v)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # expect: MHA109
        return self.wo(y.transpose(1, 2).flatten(2))
