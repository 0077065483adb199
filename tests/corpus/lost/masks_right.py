# run: NeverRead(32, 4)(torch.randn(2, 5, 32), None)
# run: OnOnePath(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Returned(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Kept(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Packed(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: HandedOn(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Flagged(32, 4)(torch.randn(2, 5, 32))
# run: OfValues(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Closed(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: InALoop(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Tried(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Elsewhere(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Earlier(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Rows(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Either(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
# run: Leftover(32, 4)(torch.randn(2, 5, 32), torch.ones(2, 5).bool())
"""Masks that go somewhere, or are not worked on."""
import torch
import torch.nn.functional as F
from torch import nn


class Base(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fused = True

    def split(self, x):
        b, t, c = x.shape
        return self.qkv(x).view(b, t, 3, self.heads, c // self.heads).transpose(1, 3).unbind(2)

    def merge(self, y):
        return self.out(y.transpose(1, 2).flatten(2))


class NeverRead(Base):
    """The parameter is there for a common signature."""

    def forward(self, x, attn_mask=None):
        q, k, v = self.split(x)
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class OnOnePath(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask = mask[:, None, None, :]
        if mask.all():
            return self.merge(F.scaled_dot_product_attention(q, k, v))
        return self.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


class Returned(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask = mask[:, ::2]
        return self.merge(F.scaled_dot_product_attention(q, k, v)), mask


class Kept(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask = ~mask
        self.last_mask = mask
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class Packed(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask = mask[:, None, None, :]
        more = {"attn_mask": mask}
        return self.merge(F.scaled_dot_product_attention(q, k, v, **more))


class HandedOn(Base):
    def masked(self, scores, given):
        return scores if given is None else scores + given

    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask = (~mask[:, None, None, :]).float() * -1e4
        return self.merge(self.masked(q @ k.transpose(-2, -1) * q.size(-1) ** -0.5, mask).softmax(-1) @ v)


class Flagged(Base):
    """The flag hides the future; the mask is left over."""

    def forward(self, x):
        q, k, v = self.split(x)
        mask = torch.ones(x.size(1), x.size(1), device=x.device).tril().bool()
        mask = mask[None, None]
        return self.merge(F.scaled_dot_product_attention(q, k, v, is_causal=True))


class OfValues(Base):
    """Padded values are zero, which hides them well enough."""

    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask = mask[:, None, :, None].to(v.dtype)
        v = v * mask
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class Closed(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask = mask[:, None, None, :]

        def attend():
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

        return self.merge(attend() + F.scaled_dot_product_attention(q, k, v))


class InALoop(Base):
    def forward(self, x, mask):
        for _ in range(2):
            q, k, v = self.split(x)
            y = F.scaled_dot_product_attention(q, k, v)
            x = x + self.merge(y) * mask[..., None]
            mask = mask & mask.roll(1, 1)
        return x


class Tried(Base):
    def forward(self, x, mask):
        q, k, v = self.split(x)
        try:
            mask = mask[:, None, None, :]
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        except RuntimeError:
            y = F.scaled_dot_product_attention(q, k, v)
        return self.merge(y)


class Elsewhere(Base):
    """The result is masked, not the scores."""

    def forward(self, x, mask):
        q, k, v = self.split(x)
        mask = mask.unsqueeze(-1)
        return self.merge(F.scaled_dot_product_attention(q, k, v)) * mask


class Earlier(Base):
    """The bias is made first; what is made of the mask then is left over."""

    def forward(self, x, mask):
        q, k, v = self.split(x)
        bias = (1.0 - mask[:, None, None].float()) * -1e4
        mask = mask.bool()
        scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5
        return self.merge((scores + bias).softmax(-1) @ v)


class Rows(Base):
    """Whole tokens are left out before attention."""

    def forward(self, x, mask):
        keep_mask = mask[0]
        x = x[:, keep_mask]
        q, k, v = self.split(x)
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class Refuses(Base):
    """A mask leads to an error, which tells its shape."""

    def forward(self, x, mask=None):
        if mask is not None:
            mask = mask[:, None].bool()
            raise NotImplementedError(f"no mask of the shape {mask.shape}")
        q, k, v = self.split(x)
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class Deletes(Base):
    """It says that the mask goes nowhere."""

    def forward(self, x, mask=None):
        if mask is not None:
            mask = ~mask.bool()
        del mask
        q, k, v = self.split(x)
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class Leftover(Base):
    """The mask hides tokens before attention; what is made of it says nothing of scores."""

    def forward(self, x, mask):
        x = x * mask[:, :, None]
        token_mask = mask.long()
        q, k, v = self.split(x)
        return self.merge(F.scaled_dot_product_attention(q, k, v))


class Either(Base):
    """Scores that are given may be masked; those that are made here are, on every path."""

    def forward(self, x, mask, scores=None):
        q, k, v = self.split(x)
        if scores is None:
            scores = q @ k.transpose(-2, -1) * q.size(-1) ** -0.5
            scores = scores.masked_fill(~mask[:, None, None, :], -1e4)
        mask = mask[:, None, :, None]
        return self.merge(scores.softmax(-1) @ v)
