"""The projection is built and gets no gradient."""

import torch


def wrong(load):
    heads = load("attentions").Heads()
    x = torch.randn(2, 5, 32)
    heads(x, x, x)[0].sum().backward()
    return heads.out_projection.weight.grad is None
