"""The result for a slide depends on how many tiles it is padded with."""

import torch


def wrong(load):
    pooling, collate = load("slides.aggregators").TilePooling(), load("slides.collate")
    few, many = torch.randn(3, 32), torch.randn(9, 32)
    alone, padded = pooling(*collate.padded([few])), pooling(*collate.padded([few, many]))[:1]
    return not torch.allclose(alone, padded, atol=1e-5)
