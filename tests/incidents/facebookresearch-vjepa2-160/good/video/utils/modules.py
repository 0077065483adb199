import torch
import torch.nn as nn
import torch.nn.functional as F


class ClipAttention(nn.Module):
    def __init__(self, dim, heads=8, bias=False, weights_dropout=0.0, out_dropout=0.0, fused=True, is_causal=False):
        super().__init__()
        self.heads = heads
        head_width = dim // heads
        self.scale = head_width**-0.5
        self.to_qkv = nn.Linear(dim, dim * 3, bias=bias)
        self.weights_dropout = nn.Dropout(weights_dropout)
        self.to_out = nn.Linear(dim, dim)
        self.out_drop_prob = out_dropout
        self.out_dropout = nn.Dropout(out_dropout)
        self.fused = fused
        self.is_causal = is_causal

    def forward(self, x, mask=None, attn_mask=None):
        b, n, c = x.shape
        to_qkv = self.to_qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = to_qkv[0], to_qkv[1], to_qkv[2]
        if attn_mask is not None or self.fused:
            with torch.backends.cuda.sdp_kernel():
                x = F.scaled_dot_product_attention(
                    q, k, v, dropout_p=self.out_drop_prob if self.training else 0.0, is_causal=self.is_causal, attn_mask=attn_mask
                )
                attn = None
        else:
            attn = (q @ k.transpose(-2, -1)) * self.scale
            attn = attn.softmax(dim=-1)
            attn = self.weights_dropout(attn)
            x = attn @ v
        x = x.transpose(1, 2).reshape(b, n, c)
        x = self.to_out(x)
        return self.out_dropout(x)


class ClipBlock(nn.Module):
    def __init__(self, dim, heads, drop_rate=0.0, weights_dropout=0.0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = ClipAttention(dim, heads=heads, weights_dropout=weights_dropout, out_dropout=drop_rate)

    def forward(self, x, mask=None, attn_mask=None):
        return x + self.attn(self.norm(x), mask=mask, attn_mask=attn_mask)
