"""In eval mode two calls with the same tokens differ."""

import torch
from incident_checks import random_in_eval


def wrong(load):
    model = load("model")
    decoder = model.Decoder(model.DecoderConfig(dropout=0.5))
    return random_in_eval(decoder, torch.arange(12).view(2, 6))
