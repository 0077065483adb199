"""Scores that are scaled by the wrong width, the wrong way, or not at all: MHA104.

The first is from a lecture that hundreds of thousands have watched, the second from a paper's own code: with several
heads, both divide by the root of the model's width. The third forgot the scale when it changed from one head to several.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Head(nn.Module):
    def __init__(self, n_embd: int, head_size: int, block_size: int = 64):
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        B, T, C = x.shape
        k = self.key(x)
        q = self.query(x)
        wei = q @ k.transpose(-2, -1) * C**-0.5
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))
        wei = F.softmax(wei, dim=-1)
        return wei @ self.value(x), wei


class SetAttention(nn.Module):
    """Heads are stacked along the batch, one after the other."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.dim, self.num_heads = dim, num_heads
        self.fc_q, self.fc_k, self.fc_v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.fc_o = nn.Linear(dim, dim)

    def forward(self, Q: torch.Tensor, K: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        Q, K, V = self.fc_q(Q), self.fc_k(K), self.fc_v(K)
        width = self.dim // self.num_heads
        Q_ = torch.cat(Q.split(width, 2), 0)
        K_ = torch.cat(K.split(width, 2), 0)
        V_ = torch.cat(V.split(width, 2), 0)
        A = torch.softmax(Q_.bmm(K_.transpose(1, 2)) / math.sqrt(self.dim), 2)
        return self.fc_o(torch.cat(A.bmm(V_).split(Q.size(0), 0), 2)), A


class LatentAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.q, self.kv, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, latents: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        b, n, c = latents.shape
        q = self.q(latents).view(b, n, self.num_heads, self.head_dim).transpose(1, 2)
        k, v = self.kv(inputs).view(b, inputs.shape[1], 2, self.num_heads, self.head_dim).permute(0, 2, 3, 1, 4).unbind(1)
        weights = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, n, c)), weights
