# run: attend(*torch.randn(3, 2, 5, 8), torch.ones(2, 5, 5)), attend(*torch.randn(3, 2, 5, 8), torch.eye(5))
import torch


def attend(q, k, v, mask):
    """The scores are masked by a product, and the weights once more: of the mask nothing is known but its name."""
    d = q.shape[-1]
    scores = torch.matmul(q / d**0.5, k.transpose(-2, -1))
    scores = scores + (1 - mask) * torch.finfo(scores.dtype).min
    weights = torch.softmax(scores, dim=-1)
    weights = weights.masked_fill(mask == 0, 0.0)
    return torch.matmul(weights, v)
