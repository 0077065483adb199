# run: Guarded(24, 3)(torch.randn(2, 4, 24), torch.ones(2, 4, dtype=torch.bool))
# run: Numbers(24, 3)(torch.randn(2, 4, 24), torch.ones(2, 4, dtype=torch.bool), [4, 4])
# select: MHA206
import torch
import torch.nn as nn


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def attend(self, x, mask):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        return self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class Guarded(Attention):
    """The code takes care of compilation itself."""

    def forward(self, x, mask: torch.Tensor):
        if not torch.compiler.is_compiling() and mask.all():
            mask = None
        y = self.attend(x, mask)
        self.report(y)
        return y

    @torch.compiler.disable
    def report(self, y: torch.Tensor):
        self.last = y.abs().max().item()


class Numbers(Attention):
    """These are numbers, or an assertion, or nothing that forward runs."""

    def __init__(self, dim, heads, debug=False):
        super().__init__(dim, heads)
        self.debug = debug

    def forward(self, x, mask: torch.Tensor, lengths):
        n = int(max(lengths))
        assert (mask.sum(-1) > 0).all()
        if self.debug:
            print("masked", (~mask).sum().item())
        if x.shape[1] > n or not any(lengths):
            x = x[:, :n]
        return self.attend(x, mask)

    @torch.no_grad()
    def generate(self, x: torch.Tensor, steps):
        for _ in range(steps):
            x = torch.cat((x, self.attend(x, None)[:, -1:]), dim=1)
            if x.abs().max().item() > 1e4 or (x == 0).all():
                break
        return x
