# run: attend(*torch.randn(3, 2, 5, 8)), attend_to(*torch.randn(3, 2, 5, 8), 0.5)
# fix: unsafe
import math

import torch


def attend(q, k, v):
    b, t, d = q.shape
    q = q / math.sqrt(d)
    weights = torch.bmm(q, k.transpose(-2, -1)).softmax(dim=-2)  # expect: MHA105
    return torch.bmm(weights, v)


def attend_to(q, k, v, scale):
    q *= scale
    weights = torch.softmax(torch.matmul(q, k.mT), dim=-2)  # expect: MHA105
    return torch.matmul(weights, v)
