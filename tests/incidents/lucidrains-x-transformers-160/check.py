"""With a mask of the padding given, each token sees the future and not the past."""

import torch
from incident_checks import future_reaches_past


def wrong(load):
    layer = load("attending").Attention(32, causal=True, flash=True).eval()
    mask = torch.ones(2, 6, dtype=torch.bool)
    return future_reaches_past(lambda x: layer(x, mask=mask), torch.randn(2, 6, 32))
