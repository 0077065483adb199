"""Token by token the layer does not compute what it computes for all tokens at once."""

import torch


def wrong(load):
    layer, generate = load("cached").CachedAttention(32, 4), load("generate")
    x = torch.randn(2, 6, 32)
    return not torch.allclose(layer(x), generate.step_by_step(layer, x), atol=1e-5)
