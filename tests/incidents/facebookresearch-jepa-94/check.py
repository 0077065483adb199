"""The projection is built and gets no gradient."""

import torch


def wrong(load):
    pooler = load("clips.pooler").Pooler()
    pooler(torch.randn(2, 7, 32)).sum().backward()
    return pooler.block.xattn.proj.weight.grad is None
