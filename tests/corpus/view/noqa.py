# run: A(8, 2)(torch.randn(2, 3, 8))
# run: B(8, 2)(torch.randn(2, 3, 8))
import torch
import torch.nn as nn


class A(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        x = x.view(b, t, self.heads, c // self.heads)
        w = torch.softmax(torch.einsum("bthd,bshd->bhts", x, x), dim=-1)
        x = torch.matmul(w, x.transpose(1, 2))
        return self.proj(x.transpose(1, 2).view(b, t, c))  # noqa: MHA001


class B(A):
    def forward(self, x):
        b, t, c = x.shape
        x = x.view(b, t, self.heads, c // self.heads)
        w = torch.softmax(torch.einsum("bthd,bshd->bhts", x, x), dim=-1)
        x = torch.matmul(w, x.transpose(1, 2))
        return self.proj(x.transpose(1, 2).view(b, t, c))  # noqa: E501  # expect: MHA001
