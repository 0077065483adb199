# fix: unsafe
# run: SHOWN["two heads"](torch.randn(2, 5, 16))
"""Objects that are made to be looked at, one by one: nobody projects what they give."""
import torch
from torch import nn


class Heads(nn.Module):  # expect: MHA003
    def __init__(self, width, number):
        super().__init__()
        self.number = number
        self.queries, self.keys, self.values = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, x):
        b, n, width = x.shape
        q, k, v = (
            layer(x).view(b, n, self.number, width // self.number).transpose(1, 2)
            for layer in (self.queries, self.keys, self.values)
        )
        seen = torch.softmax(q @ k.transpose(2, 3) * q.size(-1) ** -0.5, dim=-1) @ v
        return seen.transpose(1, 2).flatten(2)


SHOWN = {"two heads": Heads(16, 2), "four heads": Heads(16, 4)}
KINDS = {"heads": Heads}

if __name__ == "__main__":
    module = Heads(16, 2)
    print(module(torch.randn(1, 3, 16)).shape)
