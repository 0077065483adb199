import torch
from multi_head_attention import HeadsAttention
from torch import nn


class DecoderBlock(nn.Module):
    def __init__(self, hidden_dim, num_heads):
        super().__init__()
        self.cross = HeadsAttention(hidden_dim, num_heads)
        self.own = HeadsAttention(hidden_dim, num_heads)
        self.norm1, self.norm2 = nn.LayerNorm(hidden_dim), nn.LayerNorm(hidden_dim)

    def forward(self, x, states, future_mask):
        x = self.norm1(x + self.own(x, future_mask=future_mask))
        return self.norm2(x + self.cross(x, encoder_states=states))


def future_mask_of(length: int) -> torch.Tensor:
    return torch.tril(torch.ones(length, length)) == 1
