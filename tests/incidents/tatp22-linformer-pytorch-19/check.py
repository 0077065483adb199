"""In half precision the fill raises."""

import torch
from incident_checks import raises


def wrong(load):
    layer = load("linear_keys").LinearHeads(6, 8, 32, 3, 4).half().eval()
    return raises("without overflow", lambda: layer(torch.randn(2, 6, 32).half()))
