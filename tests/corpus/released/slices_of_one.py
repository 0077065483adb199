# run: loss(torch.randn(2, 5, 5, 3, 7), torch.randn(2, 5, 5, 4, 7), torch.ones(2, 5))
# run: likeness(torch.randn(2, 3, 9, 4), torch.randn(6, 2, 3, 9), 1)
"""A slice of one is broadcast; an end that is counted from the back is no length."""

import torch


def loss(predicted, target, mask):
    b, n, _, d, bins = predicted.shape
    found = []
    for k in range(target.shape[3]):
        log_q = torch.log_softmax(predicted, dim=-1)
        p_k = target[:, :, :, k : k + 1, :].repeat_interleave(d, dim=3)
        errors = -torch.sum(p_k * log_q, dim=-1)
        pairs = (mask[:, None, :] * mask[:, :, None]).unsqueeze(-1).repeat_interleave(d, -1)
        found.append(torch.sum(errors * pairs, dim=-2))
    return torch.stack(found)


def likeness(x, targets, ahead):
    b, c, t, steps = x.shape
    n, b, c, t = targets.shape
    found = []
    for step in range(steps):
        offset = step + ahead
        found.append(torch.einsum("bct,nbct->nbt", x[..., :-offset, step], targets[..., offset:]))
    return found
