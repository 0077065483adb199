"""In eval mode two calls with the same frames differ, in the base class and in the one of the other package."""

import torch
from incident_checks import random_in_eval


def wrong(load):
    x, mask = torch.randn(2, 6, 32), torch.ones(2, 6, 6, dtype=torch.bool)
    base = load("speech.transformer.attention").FrameAttention(4, 32, 0.5, fused=True)
    other = load("speech.fired.attention").NormedAttention(4, 32, 0.5, fused=True)
    return random_in_eval(base, x, x, x, mask) and random_in_eval(other, x, x, x, mask, torch.zeros(2, 4, 6, 6))
