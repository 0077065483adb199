from typing import Callable, Optional

import torch
from torch import nn


def sdpa_or_blocks() -> Callable:
    """The function that computes attention here: chosen once, by what this torch has."""

    def _attend(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: Optional[torch.Tensor],
        dropout_p: float,
        is_causal: bool,
    ) -> torch.Tensor:
        if mask is not None:
            mask = mask[:, None, :, :]
        return nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout_p, is_causal=is_causal  # or here: MHA103
        )

    return _attend
