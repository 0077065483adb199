"""The scores are scaled by the model's width, not by that of a head."""

import torch
from incident_checks import score_factor


def wrong(load):
    layer = load("from_scratch").OwnAttention(32, 4)
    x = torch.randn(2, 5, 32)
    return abs(score_factor(lambda: layer(x, x, x, None)) - 8**-0.5) > 1e-3
