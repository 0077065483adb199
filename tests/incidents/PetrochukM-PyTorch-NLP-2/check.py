"""The weights of a query do not sum to one."""

import torch


def wrong(load):
    layer = load("textual").Attention(8)
    _, weights = layer(torch.randn(2, 3, 8), torch.randn(2, 5, 8))
    return not torch.allclose(weights.sum(dim=-1), torch.ones(2, 3), atol=1e-5)
