"""The scores are scaled by the model's width, not by that of a head."""

import torch
from incident_checks import score_factor


def wrong(load):
    layer = load("patchwise").Heads(48, heads=4, dim_head=8)
    return abs(score_factor(lambda: layer(torch.randn(2, 5, 48))) - 8**-0.5) > 1e-3
