"""Where all values are one, the average of the values is not."""

import torch
from incident_checks import average_of_ones


def wrong(load):
    layer = load("denoise.unet").PixelAttention(16, n_heads=2, d_k=8)
    ones = average_of_ones(lambda: layer(torch.randn(2, 16, 3, 4)))
    return not torch.allclose(ones, torch.ones_like(ones), atol=1e-4)
