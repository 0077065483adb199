# run: attend(*torch.randn(3, 2, 5, 4, 8)), attend(*torch.randn(3, 2, 4, 5, 8), tokens_first=False)
# fix: unsafe
import torch

SCORES = "b h t k"


def attend(q, k, v, tokens_first=True):
    layout = "b t h d" if tokens_first else "b h t d"
    keys = layout.replace("t", "k")
    scores = torch.einsum(f"{layout}, {keys} -> " + SCORES, q, k) / q.shape[-1] ** (1 / 2)
    weights = torch.softmax(scores, dim=-2)  # expect: MHA105
    return torch.einsum("{0}, {1} -> {2}".format(SCORES, keys, layout), weights, v)
