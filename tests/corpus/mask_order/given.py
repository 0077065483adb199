# fix: unsafe
# run: Joined(16, 4)(torch.randn(3, 5, 16), torch.zeros(3, 5, 5, dtype=torch.bool))
# run: Expanded(16, 4)(torch.randn(3, 5, 16), torch.zeros(3, 5, 5, dtype=torch.bool))
# run: Inserted(16, 4)(torch.randn(3, 5, 16), torch.zeros(3, 5, 5, dtype=torch.bool))
# run: Tiled(16, 4)(torch.randn(3, 5, 16), torch.zeros(3, 5, 5, dtype=torch.bool))
# run: Pattern(16, 4)(torch.randn(3, 5, 16), torch.zeros(3, 5, 5, dtype=torch.bool))
# run: Letters(16, 4)(torch.randn(3, 5, 16), torch.zeros(3, 5, 5, dtype=torch.bool))
# run: Layer(16, 4)(torch.randn(3, 5, 16), torch.zeros(3, 5, 5, dtype=torch.bool))
"""Masks that are handed in, so that nothing tells how many dimensions they have but how they are repeated."""
import torch
from einops import rearrange, repeat
from torch import einsum, nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        b, t, _ = x.shape
        return x.view(b, t, self.heads, self.head_width).transpose(1, 2).reshape(b * self.heads, t, self.head_width)

    def scores(self, x):
        return self.split(self.q(x)) @ self.split(self.k(x)).transpose(1, 2) * self.head_width**-0.5

    def merge(self, scores, x):
        b, t, _ = x.shape
        y = scores.softmax(dim=-1) @ self.split(self.v(x))
        return self.out(y.view(b, self.heads, t, self.head_width).transpose(1, 2).reshape(b, t, -1))


class Joined(Attention):
    def forward(self, x, hidden):
        scores = self.scores(x)
        return self.merge(scores.masked_fill(torch.cat([hidden] * self.heads), -1e4), x)  # expect: MHA118


class Expanded(Attention):
    def forward(self, x, hidden):
        hidden = hidden.unsqueeze(0).expand(self.heads, -1, -1, -1).flatten(0, 1)  # expect: MHA118
        return self.merge(self.scores(x).masked_fill(hidden, -1e4), x)


class Inserted(Attention):
    def forward(self, x, hidden):
        b, t, s = hidden.shape[0], hidden.shape[1], hidden.shape[2]
        hidden = hidden[None].expand(self.heads, b, t, s).reshape(-1, t, s)  # expect: MHA118
        return self.merge(self.scores(x).masked_fill(hidden, -1e4), x)


class Tiled(Attention):
    def forward(self, x, hidden):
        return self.merge(self.scores(x).masked_fill(torch.tile(hidden, (self.heads, 1, 1)), -1e4), x)  # expect: MHA118


class Pattern(Attention):
    def forward(self, x, hidden):
        hidden = repeat(hidden, "b i j -> (h b) i j", h=self.heads)  # expect: MHA118
        return self.merge(self.scores(x).masked_fill(hidden, -1e4), x)


class Letters(Attention):
    def forward(self, x, hidden):
        q, k, v = (rearrange(f(x), "b n (h d) -> (b h) n d", h=self.heads) for f in (self.q, self.k, self.v))
        scores = einsum("b i d, b j d -> b i j", q, k) * self.head_width**-0.5
        scores = scores.masked_fill(hidden.repeat(self.heads, 1, 1), -1e4)  # expect: MHA118
        y = einsum("b i j, b j d -> b i d", scores.softmax(dim=-1), v)
        return self.out(rearrange(y, "(b h) n d -> b n (h d)", h=self.heads))


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x, hidden):
        mask = hidden.repeat(self.attend.num_heads, 1, 1)  # expect: MHA118
        return self.attend(x, x, x, attn_mask=mask, need_weights=False)[0]
