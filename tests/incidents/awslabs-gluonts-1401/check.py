"""A later step changes what an earlier one gets."""

import torch
from incident_checks import future_reaches_past


def wrong(load):
    return future_reaches_past(load("fusion.layers").InterpretableAttention(32, 4), torch.randn(2, 6, 32))
