"""In half precision the fill raises."""

import torch
from incident_checks import raises


def wrong(load):
    config = load("turned.configuration").TurnedConfig()
    layer = load("turned.modeling").TurnedAttention(config).half().eval()
    mask = torch.zeros(2, 1, 1, 5, dtype=torch.bool)
    return raises("without overflow", lambda: layer(torch.randn(2, 5, 32).half(), mask))
