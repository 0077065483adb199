"""A later token changes what an earlier one gets, although the mask is causal."""

import torch
from incident_checks import future_reaches_past


def wrong(load):
    layer = load("mha_variants").FusedNoFlag(32, 32, 4, 16).eval()
    return future_reaches_past(layer, torch.randn(2, 6, 32))
