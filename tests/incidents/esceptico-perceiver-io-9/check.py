"""The scores are divided by what they should be multiplied with."""

import torch
from incident_checks import score_factor


def wrong(load):
    layer = load("latents.attention").LatentHeads(32, 32, num_heads=4)
    x = torch.randn(2, 5, 32)
    return abs(score_factor(lambda: layer(x, x)) - 8**-0.5) > 1e-3
