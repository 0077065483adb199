"""In eval mode two calls with the same input differ."""

import torch
from incident_checks import random_in_eval


def wrong(load):
    return random_in_eval(load("attention").SelfAttention(32, 4, p=0.5), torch.randn(2, 6, 32))
