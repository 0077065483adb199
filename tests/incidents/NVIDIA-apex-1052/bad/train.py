from dataclasses import dataclass

import torch
from paths import PathReasoning


@dataclass
class Config:
    hidden_size: int = 16
    relation_num: int = 5


def step(half):
    model = PathReasoning(Config())
    tensors = [torch.randn(3, 16), torch.randn(3, 16), torch.randn(3, 4, 16)]
    if half:
        model, tensors = model.half(), [tensor.half() for tensor in tensors]
    return model(*tensors, torch.ones(3, 4, dtype=torch.bool))
