import numpy as np
import torch
import torch.nn as nn
from translate.modules.heads import HeadedAttention

MAX_SIZE = 50


class MaskedDecoder(nn.Module):
    def __init__(self, hidden_size, heads=4, dropout=0.0):
        super().__init__()
        self.self_attn = HeadedAttention(heads, hidden_size, p=dropout)
        self.layer_norm = nn.LayerNorm(hidden_size)
        self.register_buffer("mask", self._get_attn_subsequent_mask(MAX_SIZE))

    def forward(self, input, tgt_words, pad=0):
        t = tgt_words.size(1)
        pad_mask = tgt_words.eq(pad).unsqueeze(1).expand(-1, t, -1)
        dec_mask = torch.gt(pad_mask + self.mask[:, :t, :t], 0)
        normed = self.layer_norm(input)
        return input + self.self_attn(normed, normed, normed, mask=dec_mask)

    def _get_attn_subsequent_mask(self, size):
        """1 where a word would see a later one."""
        later = np.triu(np.ones((1, size, size)), k=1).astype("uint8")
        return torch.from_numpy(later)
