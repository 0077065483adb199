# run: TalkingHeadAttn(24, num_heads=3)(torch.randn(2, 5, 24))
import torch
import torch.nn as nn


class TalkingHeadAttn(nn.Module):
    # heads are mixed before and after the softmax
    def __init__(self, dim, num_heads=8, qkv_bias=False, attn_drop=0., proj_drop=0.):
        super().__init__()
        self.num_heads = num_heads
        head_dim = dim // num_heads
        self.scale = head_dim ** -0.5
        self.to_q = nn.Linear(dim, dim, bias=qkv_bias)
        self.to_kv = nn.Linear(dim, dim * 2, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.proj_l = nn.Linear(num_heads, num_heads)
        self.proj_w = nn.Linear(num_heads, num_heads)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x):
        B, N, C = x.shape
        q = self.to_q(x).view(B, N, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3) * self.scale
        k, v = self.to_kv(x).chunk(2, dim=-1)
        k = k.view(B, N, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3)
        v = v.view(B, N, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3)

        attn = q @ k.transpose(-2, -1)
        attn = self.proj_l(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        attn = attn.softmax(dim=-1)
        attn = self.proj_w(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        attn = self.attn_drop(attn)

        x = (attn @ v).transpose(1, 2).view(B, N, C)  # expect: MHA001
        x = self.proj(x)
        x = self.proj_drop(x)
        return x
