"""In eval mode two calls with the same field differ."""

import torch
from incident_checks import random_in_eval


def wrong(load):
    layer = load("sphere.attention").SphereAttention(16, 4, (4, 8), drop_rate=0.5)
    return random_in_eval(layer, torch.randn(2, 16, 4, 8))
