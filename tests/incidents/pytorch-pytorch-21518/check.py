"""A later step changes what an earlier one gets."""

import torch


def wrong(load):
    block = load("causal_block").CausalBlock()
    x = torch.randn(8, 2, 6)
    other = x.clone()
    other[-1] += 1.0
    return not torch.allclose(block(x)[:-1], block(other)[:-1], atol=1e-5)
