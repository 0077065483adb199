# run: attended(torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4), torch.ones(2, 1, 1))
"""A function multiplies weights by what it calls a mask; who calls it hands over a mask of heads."""

import torch


def attended(query, key, value, head_mask=None):
    y, weights = weighed(query, key, value, head_mask, dropout=0.0)
    return y.transpose(1, 2).flatten(2), weights


def weighed(query, key, value, attention_mask, dropout):
    weights = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, dim=-1)
    weights = torch.nn.functional.dropout(weights, p=dropout, training=True)
    if attention_mask is not None:
        weights = weights * attention_mask
    return weights @ value, weights
