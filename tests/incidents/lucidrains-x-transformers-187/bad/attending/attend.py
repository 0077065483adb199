import torch.nn.functional as F
from torch import nn


def exists(val):
    return val is not None


class Attend(nn.Module):
    def __init__(self, *, causal=False, dropout=0.0):
        super().__init__()
        self.causal = causal
        self.dropout = dropout

    def forward(self, q, k, v, mask=None):
        n, causal = q.shape[-2], self.causal
        if n == 1 and causal:  # one token may see all keys
            causal = False
        if exists(mask):
            mask = mask[:, None, None, :].expand(-1, q.shape[1], n, -1)
            causal = False
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0, is_causal=causal  # expect: MHA109
        )
