import torch
import torch.nn as nn
import torch.nn.functional as F
from vision.layers import fused_here


class PatchAttention(nn.Module):
    fused: torch.jit.Final[bool]

    def __init__(self, width, heads=8, bias=False, normed=False, weights_dropout=0.0, out_dropout=0.0, norm=nn.LayerNorm):
        super().__init__()
        assert width % heads == 0, "width should be divisible by heads"
        self.heads = heads
        self.width_of_head = width // heads
        self.scale = self.width_of_head**-0.5
        self.fused = fused_here()
        self.to_qkv = nn.Linear(width, width * 3, bias=bias)
        self.norm_of_q = norm(self.width_of_head) if normed else nn.Identity()
        self.norm_of_k = norm(self.width_of_head) if normed else nn.Identity()
        self.weights_dropout = nn.Dropout(weights_dropout)
        self.to_out = nn.Linear(width, width)
        self.out_dropout = nn.Dropout(out_dropout)

    def forward(self, x):
        b, n, c = x.shape
        to_qkv = self.to_qkv(x).reshape(b, n, 3, self.heads, self.width_of_head).permute(2, 0, 3, 1, 4)
        q, k, v = to_qkv[0], to_qkv[1], to_qkv[2]
        q, k = self.norm_of_q(q), self.norm_of_k(k)
        if self.fused:
            x = F.scaled_dot_product_attention(
                q, k, v,
                dropout_p=self.weights_dropout.p,  # expect: MHA103
            )
        else:
            q = q * self.scale
            weights = q @ k.transpose(-2, -1)
            weights = self.weights_dropout(weights.softmax(dim=-1))
            x = weights @ v
        x = x.transpose(1, 2).reshape(b, n, c)
        return self.out_dropout(self.to_out(x))
