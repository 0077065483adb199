"""Where all values are one, the average of the values is not."""

import torch
from incident_checks import average_of_ones


def wrong(load):
    head = load("vision").PatchHead(32, 8)
    ones = average_of_ones(lambda: head(torch.randn(2, 6, 32)))
    return not torch.allclose(ones, torch.ones_like(ones), atol=1e-4)
