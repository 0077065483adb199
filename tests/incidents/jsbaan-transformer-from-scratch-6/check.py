"""A later token changes what an earlier one gets, although the mask is causal."""

import torch
from incident_checks import future_reaches_past


def wrong(load):
    decoder = load("decoder")
    block = decoder.DecoderBlock(32, 4).eval()
    states, mask = torch.randn(2, 5, 32), decoder.future_mask_of(6)
    return future_reaches_past(lambda x: block(x, states, mask), torch.randn(2, 6, 32))
