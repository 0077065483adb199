# run: attend(torch.randn(2, 5, 12), torch.randn(2, 7, 12), torch.randn(2, 7, 12), 3, torch.zeros(5, 7))
# run: attend(torch.randn(2, 5, 12), torch.randn(2, 7, 12), torch.randn(2, 7, 12), 3, torch.ones(5, 7).bool().triu(3))
"""A mask of yes and no fills, one of numbers is added: which it is, its type tells, on each of many paths."""

import torch


def attend(query, key, value, heads, attn_mask=None, padding=None, dropout=None, to_value=None):
    entries, rows, width = query.size()
    _, columns, _ = key.size()
    wide = width // heads
    if attn_mask is not None:
        assert attn_mask.dtype == torch.float32 or attn_mask.dtype == torch.uint8 or attn_mask.dtype == torch.bool
        if attn_mask.dtype == torch.uint8:
            attn_mask = attn_mask.to(torch.bool)
        if attn_mask.dim() == 2:
            attn_mask = attn_mask.unsqueeze(0)
            if list(attn_mask.size()) != [1, query.size(1), key.size(1)]:
                raise RuntimeError("the mask does not fit")
        elif attn_mask.dim() == 3:
            if list(attn_mask.size()) != [entries * heads, query.size(1), key.size(1)]:
                raise RuntimeError("the mask does not fit")
        else:
            raise RuntimeError("the mask has too many dimensions")
    if padding is not None and padding.dtype == int:
        padding = padding.to(torch.bool)
    q = (query * wide**-0.5).contiguous().view(entries, rows, heads, wide).permute(0, 2, 1, 3).flatten(0, 1)
    k, v = key, value
    if k is not None:
        k = k.contiguous().view(entries, columns, heads, wide).permute(0, 2, 1, 3).flatten(0, 1)
    if v is not None:
        v = v.contiguous().view(entries, columns, heads, wide).permute(0, 2, 1, 3).flatten(0, 1)
    if padding is not None:
        assert padding.size(0) == entries
        assert padding.size(1) == columns
    weights = torch.bmm(q, k.transpose(1, 2))
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            weights.masked_fill_(attn_mask, float("-inf"))
        else:
            weights += attn_mask
    if padding is not None:
        weights = weights.view(entries, heads, rows, columns)
        weights = weights.masked_fill(padding.unsqueeze(1).unsqueeze(2), float("-inf"))
        weights = weights.view(entries * heads, rows, columns)
    weights = torch.softmax(weights - weights.max(dim=-1, keepdim=True)[0], dim=-1)
    if dropout is not None:
        weights = dropout(weights)
    y = torch.bmm(weights, v).view(entries, heads, rows, wide).permute(0, 2, 1, 3).flatten(2)
    return y if to_value is None else to_value(y)
