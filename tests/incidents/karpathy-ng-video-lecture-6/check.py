"""The scores are scaled by the model's width, not by that of a head."""

import torch
from incident_checks import score_factor


def wrong(load):
    letters = load("letters")
    head = letters.OneHead(8).to("cpu")
    factor = score_factor(lambda: head(torch.randn(2, 8, 32)))
    return abs(factor - 8**-0.5) > 1e-3
