"""In eval mode two calls with the same clip differ."""

import warnings

import torch
from incident_checks import random_in_eval


def wrong(load):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the old context manager
        return random_in_eval(load("video.encoder").ClipEncoder(drop_rate=0.5), torch.randn(2, 6, 32))
