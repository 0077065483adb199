# run: mha(torch.randn(2, 5, 32))
# fix: unsafe
import torch
import torch.nn as nn


class MultiHeadAttention(nn.Module):  # expect: MHA003
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).unbind(2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        att = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1)
        return (att @ v).transpose(1, 2).reshape(b, t, c)


# An object at the level of the module is an example: nobody here projects what it returns.
mha = MultiHeadAttention(32, 4)
variants = {"naive": MultiHeadAttention(32, 4)}
x = torch.randn(2, 5, 32)
x = mha(x)
