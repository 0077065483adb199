"""The result of the causal attention is not finite: what is multiplied with the values are masked scores."""

import torch


def wrong(load):
    layer = load("compressed").CompressedAttention(32, 4, causal=True)
    return not layer(torch.randn(2, 6, 32)).isfinite().all()
