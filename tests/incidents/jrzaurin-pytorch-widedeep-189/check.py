"""In eval mode two calls with the same row of the table differ."""

import torch
from incident_checks import random_in_eval


def wrong(load):
    return random_in_eval(load("tabular.encoder").TableEncoder(32, 4, 0.5), torch.randn(2, 6, 32))
