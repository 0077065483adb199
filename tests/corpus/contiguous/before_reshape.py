# run: CrossAttention(24, 16, 4)(torch.randn(2, 5, 24), torch.randn(2, 7, 16))
import torch
import torch.nn.functional as F
from torch import nn


class CrossAttention(nn.Module):
    def __init__(self, dim: int, context_dim: int, num_heads: int = 8):
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(context_dim, 2 * dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(0.1))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        b, n, dim = x.shape
        q = self.to_q(x).reshape(b, n, self.num_heads, -1).transpose(1, 2)
        k, v = self.to_kv(context).reshape(b, context.size(1), 2, self.num_heads, -1).unbind(2)
        out = F.scaled_dot_product_attention(q, k.transpose(1, 2), v.transpose(1, 2))
        out = (
            out.transpose(1, 2)
            .contiguous()  # expect: MHA004
            .reshape(b, n, dim)
        )
        return self.to_out(out)
