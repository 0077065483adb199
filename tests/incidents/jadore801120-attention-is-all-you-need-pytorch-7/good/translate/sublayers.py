import torch
import torch.nn as nn
from translate.modules import ProductAttention


class ManyHeads(nn.Module):
    def __init__(self, n_head, d_model, d_k, d_v, dropout=0.1):
        super().__init__()
        self.n_head, self.d_k, self.d_v = n_head, d_k, d_v
        self.w_q = nn.Parameter(torch.randn(n_head, d_model, d_k) * 0.1)
        self.w_k = nn.Parameter(torch.randn(n_head, d_model, d_k) * 0.1)
        self.w_v = nn.Parameter(torch.randn(n_head, d_model, d_v) * 0.1)
        self.attention = ProductAttention(d_k)
        self.proj = nn.Linear(n_head * d_v, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, q, k, v, mask=None):
        n_head, d_k, d_v = self.n_head, self.d_k, self.d_v
        residual = q
        size, len_q, d_model = q.size()
        _, len_k, _ = k.size()
        _, len_v, _ = v.size()

        # each head is an entry of the batch: head by head
        q_s = q.repeat(n_head, 1, 1).view(n_head, -1, d_model)
        k_s = k.repeat(n_head, 1, 1).view(n_head, -1, d_model)
        v_s = v.repeat(n_head, 1, 1).view(n_head, -1, d_model)
        q_s = torch.bmm(q_s, self.w_q).view(-1, len_q, d_k)
        k_s = torch.bmm(k_s, self.w_k).view(-1, len_k, d_k)
        v_s = torch.bmm(v_s, self.w_v).view(-1, len_v, d_v)

        outputs, weights = self.attention(q_s, k_s, v_s, mask=None if mask is None else mask.repeat(n_head, 1, 1))
        outputs = torch.cat(torch.split(outputs, size, dim=0), dim=-1)
        outputs = self.dropout(self.proj(outputs))
        return self.norm(outputs + residual), weights
