"""The scores are scaled by the model's width, not by that of a head."""

import torch
from incident_checks import score_factor


def wrong(load):
    head = load("language_models").Head(16)
    return abs(score_factor(lambda: head(torch.randn(2, 8, 64))) - 16**-0.5) > 1e-3
