import torch.nn as nn
import torch.nn.functional as F
from vision.layers import Mlp, fused_here


class ClassAttention(nn.Module):
    """The class token alone asks."""

    def __init__(self, width, heads=8, weights_dropout=0.0):
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.fused = fused_here()
        self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.weights_dropout = nn.Dropout(weights_dropout)
        self.to_out = nn.Linear(width, width)
        self.mlp = Mlp(width)

    def forward(self, x):
        b, n, c = x.shape
        q = self.q(x[:, 0]).unsqueeze(1).reshape(b, 1, self.heads, c // self.heads).permute(0, 2, 1, 3)
        k = self.k(x).reshape(b, n, self.heads, c // self.heads).permute(0, 2, 1, 3)
        v = self.v(x).reshape(b, n, self.heads, c // self.heads).permute(0, 2, 1, 3)
        if self.fused:
            asked = F.scaled_dot_product_attention(q, k, v, dropout_p=self.weights_dropout.p if self.training else 0.0)
        else:
            asked = self.weights_dropout((q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1)) @ v
        asked = self.to_out(asked.transpose(1, 2).reshape(b, 1, c))
        return asked + self.mlp(asked)
