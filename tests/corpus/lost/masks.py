# run: Fused(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Torch(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: ByHand(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Causal(32, 4)(torch.randn(2, 5, 32))
# run: Steps(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Branches(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool(), torch.ones(2, 5).bool())
# run: Helped(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Renamed(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Asked(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Both(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Pooled(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Named(32, 4)(torch.randn(2, 5, 32))
# run: Given(32, 4)(torch.randn(2, 5, 32))
# fix: none (where the mask was meant to go is for a reader to say)
"""Masks that are worked on and reach no score."""
import torch
import torch.nn.functional as F
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class Fused(Base):
    def forward(self, x, mask=None):
        q, k, v = self.split(x)
        if mask is not None:
            mask = mask[:, None, None, :].expand(-1, self.heads, q.size(2), -1)  # expect: MHA122
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=None))


class Torch(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x, padding_mask):
        padding_mask = ~padding_mask  # expect: MHA122
        y, _ = self.attend(x, x, x, need_weights=False)
        return y


class ByHand(Base):
    def forward(self, x, attn_mask=None):
        q, k, v = self.split(x)
        scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5
        if attn_mask is not None:
            additive = (1.0 - attn_mask[:, None, None].float()) * -1e4
            attn_mask = additive.expand_as(scores)  # expect: MHA122
        return self.merge(scores.softmax(-1) @ v)


class Causal(Base):
    def forward(self, x):
        q, k, v = self.split(x)
        t = x.size(1)
        mask = torch.triu(torch.ones(t, t, device=x.device), 1).bool()  # expect: MHA122
        scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5
        return self.merge(scores.softmax(-1) @ v)


class Steps(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask = mask.unsqueeze(1)
        mask = mask.unsqueeze(2)
        mask = mask.expand(-1, self.heads, -1, -1)  # expect: MHA122
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class Branches(Base):
    def forward(self, x, mask=None, other_mask=None):
        q, k, v = self.split(x)
        if mask is not None and other_mask is not None:
            mask = mask & other_mask  # expect: MHA122
        elif other_mask is not None:
            mask = other_mask.clone()  # expect: MHA122
        return self.merge(F.scaled_dot_product_attention(q, k, v, dropout_p=0.0))


class Helped(Base):
    def attend(self, q, k, v, mask=None):
        scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5
        if mask is not None:
            scores = scores.masked_fill(mask, -1e4)
        return scores.softmax(-1) @ v

    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask = ~mask[:, None, None, :]  # expect: MHA122
        return self.merge(self.attend(q, k, v))


class Renamed(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        b, s = mask.shape
        key_mask = mask.view(b, 1, 1, s).repeat(1, self.heads, 1, 1)  # expect: MHA122
        y = F.scaled_dot_product_attention(q, k, v)
        return self.merge(y)


class Asked(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        assert mask.size(-1) == k.size(-2)
        mask = mask.logical_not()  # expect: MHA122
        weights = torch.einsum("bhtd,bhsd->bhts", q, k * k.size(-1) ** -0.5).softmax(-1)
        return self.merge(torch.einsum("bhts,bhsd->bhtd", weights, v))


class Both(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        t = x.size(1)
        causal_mask = torch.ones(t, t, device=x.device).tril().bool()
        mask = mask[:, None, None, :] & causal_mask  # expect: MHA122
        scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5
        return self.merge(F.softmax(scores, dim=-1) @ v)


class Pooled(Base):
    """The mask is used for the mean of the tokens; what is made of it for the scores is not used."""

    def forward(self, x, mask):
        keep = mask[:, :, None].to(x.dtype)
        mean = (x * keep).sum(dim=1, keepdim=True) / keep.sum(dim=1, keepdim=True).clamp(min=1)
        attn_mask = mask[:, None, None, :].bool()
        attn_mask = F.pad(attn_mask, (1, 0), value=True)  # expect: MHA122
        q, k, v = self.split(torch.cat([mean, x], dim=1))
        return self.merge(F.scaled_dot_product_attention(q[:, :, :1], k, v, attn_mask=None))


class Named(Base):
    """A method makes the mask, whose name says what it hides."""

    def causal_mask(self, length):
        mask = torch.full((length, length), float("-inf"))
        for row in range(length):
            mask[row, : row + 1] = 0
        return mask

    def forward(self, x):
        q, k, v = self.split(x)
        attention_mask = self.causal_mask(x.size(1))  # expect: MHA122
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=None))


class Given(Base):
    """On one path the scores are those of another layer."""

    def forward(self, x, scores=None):
        q, k, v = self.split(x)
        if scores is None:
            scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5
        future_mask = torch.ones(x.size(1), x.size(1), device=x.device).triu(1).bool()  # expect: MHA122
        return self.merge(scores.softmax(-1) @ v)
