"""A later token changes what an earlier one gets, although the mask is causal."""

import torch
from incident_checks import future_reaches_past


def wrong(load):
    heads = load("multi_head_attention").Heads(64, 64, 8)
    mask = torch.full((5, 5), float("-inf")).triu(1)
    return future_reaches_past(lambda x: heads(x, mask), torch.randn(2, 5, 64))
