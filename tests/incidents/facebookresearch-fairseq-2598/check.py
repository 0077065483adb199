"""Once it is prepared for the accelerator, the view of the scores raises."""

import torch
from incident_checks import raises


def wrong(load):
    layer = load("seq.modules").SharedAttention(32, 4).eval()
    layer.prepare_for_tpu_()
    padding = torch.tensor([[False] * 2])
    return raises("view size is not compatible", lambda: layer(torch.randn(2, 2, 32), padding))
