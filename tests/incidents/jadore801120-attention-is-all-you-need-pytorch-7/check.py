"""A change of one sentence changes what the others of the batch get."""

import torch


def wrong(load):
    layer = load("translate.sublayers").ManyHeads(4, 32, 8, 8).eval()
    x = torch.randn(2, 6, 32)
    other = x.clone()
    other[1] += 1.0
    return not torch.allclose(layer(x, x, x)[0][0], layer(other, other, other)[0][0], atol=1e-5)
