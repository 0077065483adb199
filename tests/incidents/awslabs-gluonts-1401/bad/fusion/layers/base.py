from abc import abstractmethod

import torch
from torch import nn


class AttentionBase(nn.Module):
    """Masks, weights and the mix; how scores are made is told by those who inherit."""

    def __init__(self, d_hidden, n_head, dropout=0.0):
        super().__init__()
        self.d_hidden, self.n_head, self.d_head = d_hidden, n_head, d_hidden // n_head
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def _compute_qkv(self, x):
        raise NotImplementedError

    def _apply_mask(self, score, key_mask):
        steps = torch.arange(score.shape[-1], device=score.device)
        queries = steps[-score.shape[-2] :]
        score = score.masked_fill(queries[:, None] < steps[None, :], 1e-9)  # expect: MHA111
        if key_mask is not None:
            score = score.masked_fill(~key_mask[:, None, None, :], 1e-9)  # expect: MHA111
        return score

    def _compute_attn(self, score, v, key_mask):
        weights = self._apply_mask(score, key_mask).softmax(dim=-1)
        return torch.matmul(self.dropout(weights), v)
