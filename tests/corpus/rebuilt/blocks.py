# run: torch.no_grad()(FlexAttention(24, 3))(torch.randn(2, 8, 24))
# run: torch.no_grad()(Documents(24, 3))(torch.randn(2, 8, 24), torch.zeros(2, 8, dtype=torch.long))
# run: torch.no_grad()(Kept(24, 3))(torch.randn(2, 8, 24))
# fix: none (a BlockMask is no tensor)
from functools import lru_cache

import torch
import torch.nn as nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention


def causal(b, h, t, s):
    return t >= s


@lru_cache(maxsize=8)
def blocks_of(length, device):
    return create_block_mask(causal, None, None, length, length, device=device)


class FlexAttention(nn.Module):
    def __init__(self, dim, heads, reach=3):
        super().__init__()
        self.heads, self.reach = heads, reach
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def heads_of(self, x):
        b, t, c = x.shape
        return (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.heads_of(x)
        blocks = create_block_mask(causal, None, None, t, t, device=x.device)  # expect: MHA204
        y = flex_attention(q, k, v, block_mask=blocks)

        def near(b, h, t, s):
            return (t >= s) & (t - s < self.reach)

        window = create_block_mask(near, B=None, H=None, Q_LEN=t, KV_LEN=t, device=x.device)  # expect: MHA204
        y = y + flex_attention(q, k, v, block_mask=window)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class Documents(FlexAttention):
    """Which document a token belongs to is another question in each call."""

    def forward(self, x, document):
        b, t, c = x.shape
        q, k, v = self.heads_of(x)

        def same_document(b, h, t, s):
            return document[b, t] == document[b, s]

        blocks = create_block_mask(same_document, b, None, t, t, device=x.device)
        y = flex_attention(q, k, v, block_mask=blocks)
        return self.proj(y.transpose(1, 2).reshape(b, t, c))


class Kept(FlexAttention):
    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.heads_of(x)
        y = flex_attention(q, k, v, block_mask=blocks_of(t, x.device))
        return self.proj(y.transpose(1, 2).reshape(b, t, c))
