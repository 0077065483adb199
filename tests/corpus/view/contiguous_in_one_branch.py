# run: ExportableAttention(16, 4, export=True)(torch.randn(2, 5, 16))
# run: ExportableAttention(16, 4, export=False)(torch.randn(2, 5, 16))
import torch
import torch.nn as nn


class ExportableAttention(nn.Module):
    """The exported graph needs a contiguous tensor; eager mode never gets that far."""

    def __init__(self, dim, heads, export=True):
        super().__init__()
        self.heads = heads
        self.export = export
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        q = self.q(x).view(b, t, self.heads, -1).transpose(1, 2)
        k = self.k(x).view(b, t, self.heads, -1).transpose(1, 2)
        v = self.v(x).view(b, t, self.heads, -1).transpose(1, 2)
        y = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, dim=-1) @ v
        y = y.transpose(1, 2)
        if self.export:
            y = y.contiguous()
        y = y.view(b, t, c)  # expect: MHA001
        return self.o(y)
