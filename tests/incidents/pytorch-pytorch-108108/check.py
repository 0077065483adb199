"""A prompt read in two chunks gives something else than the prompt read at once."""

import torch


def wrong(load):
    layer, cache = load("serve.attention").ChunkAttention(32, 4), load("serve.cache").KeyValueCache()
    x = torch.randn(2, 6, 32)
    chunks = torch.cat([layer(x[:, :3], cache), layer(x[:, 3:], cache)], dim=1)
    return not torch.allclose(layer(x), chunks, atol=1e-5)
