# fix: unsafe
# run: MultiHead(n_embd=16, num_heads=4)(torch.randn(2, 5, 16))
import torch
from torch import nn
from torch.nn import functional as F


class Head(nn.Module):
    """ one head of self-attention """

    def __init__(self, n_embd, head_size):
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)

    def forward(self, x):
        k = self.key(x)    # (B,T,hs)
        q = self.query(x)  # (B,T,hs)
        wei = q @ k.transpose(-2, -1) * k.shape[-1]**-0.5
        wei = F.softmax(wei, dim=-1)
        return wei @ self.value(x)


class MultiHead(nn.Module):  # expect: MHA003
    """ multiple heads of self-attention in parallel """

    def __init__(self, n_embd, num_heads, p=0.0):
        super().__init__()
        head_size = n_embd // num_heads
        self.heads = nn.ModuleList()
        for _ in range(num_heads):
            self.heads.append(Head(n_embd, head_size))
        self.dropout = nn.Dropout(p)

    def forward(self, x):
        outputs = []
        for h in self.heads:
            outputs.append(h(x))
        out = torch.cat(outputs, dim=-1)
        return self.dropout(out)
