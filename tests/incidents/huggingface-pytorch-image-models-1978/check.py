"""In eval mode two calls with the same patches differ."""

import torch
from incident_checks import random_in_eval


def wrong(load):
    vision = load("vision")
    patches = torch.randn(2, 9, 32)
    layers = vision.PatchAttention(32, weights_dropout=0.5), vision.ClassAttention(32, weights_dropout=0.5)
    return all(random_in_eval(layer, patches) for layer in layers)
