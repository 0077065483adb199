"""The scores are scaled by the width of all heads, not by that of one."""

import torch
from incident_checks import score_factor


def wrong(load):
    layer = load("modules").Within(3, 32, 4)
    return abs(score_factor(lambda: layer(torch.randn(2, 5, 3))) - 8**-0.5) > 1e-3
