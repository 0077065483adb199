# run: Block(16, 4)(torch.randn(2, 5, 16))
# run: AttentionOnly(16, 4)(torch.randn(5, 2, 16))
"""A pre-norm block around PyTorch's own attention."""
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, d_model: int = 16, nhead: int = 4, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(d_model)
        self.attn = nn.MultiheadAttention(d_model, nhead, batch_first=True)
        self.ln_2 = nn.LayerNorm(d_model)
        hidden = int(d_model * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(d_model, hidden), nn.GELU(), nn.Linear(hidden, d_model))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.ln_1(x)
        h, _ = self.attn(h, h, h, need_weights=False)
        x = x + h
        return x + self.mlp(self.ln_2(x))


class AttentionOnly(nn.Module):
    def __init__(self, d_model, nhead):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(embed_dim=d_model, num_heads=nhead)

    def forward(self, x):
        return self.self_attn(x, x, x, need_weights=False)[0]
