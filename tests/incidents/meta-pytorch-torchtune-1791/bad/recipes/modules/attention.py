import logging
from typing import Optional

import torch
from recipes.modules.attention_utils import sdpa_or_blocks
from torch import nn

logger = logging.getLogger(__name__)


class Attention(nn.Module):
    """Grouped queries.

    Args:
        weights_dropout (float): the rate of the weights' dropout; not used if ``self.training`` is False. Default 0.0.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        kv_heads: int,
        to_q: nn.Module,
        to_k: nn.Module,
        to_v: nn.Module,
        to_out: nn.Module,
        cache: Optional[nn.Module] = None,
        is_causal: bool = True,
        weights_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if weights_dropout < 0 or weights_dropout > 1:
            raise ValueError(f"weights_dropout ({weights_dropout}) must be between 0.0 and 1.0")
        self.heads = heads
        self.kv_heads = kv_heads
        self.head_dim = width // heads
        self.weights_dropout = weights_dropout
        self.is_causal = is_causal
        self.cache = cache
        self.to_q = to_q
        self.to_k = to_k
        self.to_v = to_v
        self.to_out = to_out
        self._attend = sdpa_or_blocks()

    def forward(self, x: torch.Tensor, *, mask: Optional[torch.Tensor] = None) -> torch.Tensor:
        b, s, _ = x.shape
        groups = self.heads // self.kv_heads
        q = self.to_q(x).view(b, s, self.heads, self.head_dim).transpose(1, 2)
        k = self.to_k(x).view(b, s, self.kv_heads, 1, self.head_dim)
        v = self.to_v(x).view(b, s, self.kv_heads, 1, self.head_dim)
        k = k.expand(b, s, self.kv_heads, groups, self.head_dim).reshape(b, s, -1, self.head_dim).transpose(1, 2)
        v = v.expand(b, s, self.kv_heads, groups, self.head_dim).reshape(b, s, -1, self.head_dim).transpose(1, 2)
        y = self._attend(
            q,
            k,
            v,
            mask=mask,
            dropout_p=self.weights_dropout,  # expect: MHA103
            is_causal=self.cache is None and mask is None and self.is_causal,
        )
        y = y.transpose(1, 2).contiguous().view(b, s, -1)
        return self.to_out(y)
