import math

import torch


def quadrature_weights(latitudes):
    angles = (torch.arange(latitudes) + 0.5) * math.pi / latitudes
    return torch.sin(angles) / torch.sin(angles).sum()
