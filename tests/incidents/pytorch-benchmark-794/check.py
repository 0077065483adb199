"""In half precision the fill raises."""

import torch
from incident_checks import raises


def wrong(load):
    layer = load("encoder").Heads(4, 32).half().eval()
    x, mask = torch.randn(2, 5, 32).half(), torch.ones(2, 1, 5, 5)
    return raises("without overflow", lambda: layer(x, x, x, mask))
