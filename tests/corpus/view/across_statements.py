# run: SelfAttention(32, 4, 10)(torch.randn(3, 10, 32))
import torch
from torch import nn
import torch.nn.functional as F


class SelfAttention(nn.Module):
    """
    Self attention with separate projections, one statement a line.
    """

    def __init__(self, n_embd, n_head, block_size, attn_pdrop=0.1):
        super().__init__()
        self.key = nn.Linear(n_embd, n_embd)
        self.query = nn.Linear(n_embd, n_embd)
        self.value = nn.Linear(n_embd, n_embd)
        self.drop = nn.Dropout(attn_pdrop)
        self.proj = nn.Linear(n_embd, n_embd)
        self.n_head = n_head
        self.register_buffer('mask', torch.tril(torch.ones(block_size, block_size))[None, None])

    def forward(self, x, layer_past=None):
        b, t, c = x.shape
        hs = c // self.n_head

        k = self.key(x).view(b, t, self.n_head, hs)
        q = self.query(x).view(b, t, self.n_head, hs)
        v = self.value(x).view(b, t, self.n_head, hs)
        k = k.transpose(1, 2)
        q = q.transpose(1, 2)
        v = v.transpose(1, 2)

        scores = torch.matmul(q, k.transpose(2, 3)) / hs ** 0.5
        scores = scores.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
        weights = self.drop(F.softmax(scores, dim=-1))

        y = torch.matmul(weights, v)
        # back to (b, t, nh, hs)
        y = y.transpose(1, 2)

        # ... and drop the head axis
        y = y.view(b, t, c)   # expect: MHA001
        y = self.proj(y)
        return y
