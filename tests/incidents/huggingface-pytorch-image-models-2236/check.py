"""With a mask the result is not a number, or not finite."""

import torch


def wrong(load):
    layer = load("vision.models.rotated").RotatedAttention(32, 4)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    return not layer(torch.randn(1, 6, 32), attn_mask=mask).isfinite().all()
