"""Several tokens behind a cache see other keys than the same tokens see without one."""

import torch


def wrong(load):
    layer = load("attending").CachingAttention(32).eval()
    x = torch.randn(2, 6, 32)
    whole, _ = layer(x)
    first, cache = layer(x[:, :3])
    second, _ = layer(x[:, 3:], cache)
    return not torch.allclose(whole, torch.cat([first, second], dim=1), atol=1e-5)
