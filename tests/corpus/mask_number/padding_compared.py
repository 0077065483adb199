# run: Layer(32, 4)(torch.randn(2, 5, 32), torch.tensor([[4, 5, 6, 0, 0], [1, 2, 3, 4, 5]]))
# fix: unsafe
# not exercised: the tokens are looked up nowhere here, so that no probe can hide one
"""A padding mask of zeros and ones, by tokens that are given beside what they were looked up as."""
import torch
import torch.nn as nn


class Layer(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x, tokens):
        padding = (tokens == 0).to(x.dtype)
        return self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0]  # expect: MHA113
