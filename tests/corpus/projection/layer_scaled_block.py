# fix: unsafe
# run: ScaledBlock(24, 4, qk_norm=True)(torch.randn(2, 5, 24))
"""The block's class is handed the attention's; norms, a layer scale and a drop path stand between it and the sum."""
import torch
import torch.nn as nn


def masked(scores, mask=None):
    return scores if mask is None else scores + mask


class LayerScale(nn.Module):
    def __init__(self, dim, init_values=1e-5):
        super().__init__()
        self.gamma = nn.Parameter(init_values * torch.ones(dim))

    def forward(self, x):
        return x * self.gamma


class NormedAttention(nn.Module):  # expect: MHA003
    def __init__(self, dim, num_heads=8, qkv_bias=False, qk_norm=False, scale_norm=False, norm_layer=nn.LayerNorm):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.q_norm = norm_layer(self.head_dim) if qk_norm else nn.Identity()
        self.k_norm = norm_layer(self.head_dim) if qk_norm else nn.Identity()
        self.norm = norm_layer(dim) if scale_norm else nn.Identity()
        self.gate = nn.Linear(dim, dim) if qkv_bias and scale_norm else None

    def forward(self, x, mask=None):
        B, N, C = x.shape
        gate = self.gate(x).sigmoid() if self.gate is not None else None
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        q, k = self.q_norm(q) * self.head_dim**-0.5, self.k_norm(k)
        attn = masked(q @ k.transpose(-2, -1), mask).softmax(dim=-1)
        x = self.norm((attn @ v).transpose(1, 2).reshape(B, N, C))
        return x if gate is None else x * gate


class ScaledBlock(nn.Module):
    def __init__(self, dim, num_heads, qk_norm=False, init_values=None, attn_block=NormedAttention):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attn_block(dim, num_heads=num_heads, qk_norm=qk_norm)
        self.ls1 = LayerScale(dim, init_values) if init_values else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.mlp(self.norm2(x))
