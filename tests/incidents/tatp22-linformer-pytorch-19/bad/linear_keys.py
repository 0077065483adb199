import torch
import torch.nn as nn


def projection_of_keys(length, kept):
    layer = nn.Linear(length, kept, bias=False)
    nn.init.xavier_normal_(layer.weight)
    return layer


class LinearHead(nn.Module):
    def __init__(self, dim, dropout, E_proj, F_proj, causal_mask, full_attention=False):
        super().__init__()
        self.E = E_proj
        self.F = F_proj
        self.dim = dim
        self.dropout = nn.Dropout(dropout)
        self.full_attention = full_attention
        self.register_buffer("causal_mask", causal_mask, persistent=False)

    def forward(self, Q, K, V):
        if not self.full_attention:
            K = self.E(K.transpose(1, 2))
        else:
            K = K.transpose(1, 2)
        scores = torch.matmul(Q, K) / torch.sqrt(torch.tensor(self.dim).type(Q.type()))
        if self.causal_mask is not None:
            scores = scores.masked_fill_(~self.causal_mask, -1e10)  # expect: MHA108
        weights = self.dropout(scores.softmax(dim=-1))
        if not self.full_attention:
            V = self.F(V.transpose(1, 2)).transpose(1, 2)
        return torch.matmul(weights, V)


def past_mask(length, kept):
    return torch.tril(torch.ones(length, kept)) == 1


class LinearHeads(nn.Module):
    def __init__(self, length, dim, channels, kept, nhead, dropout=0.0, full_attention=False):
        super().__init__()
        kept = length if full_attention else kept
        mask = past_mask(length, kept)
        self.to_q = nn.ModuleList([nn.Linear(channels, dim, bias=False) for _ in range(nhead)])
        self.to_k = nn.ModuleList([nn.Linear(channels, dim, bias=False) for _ in range(nhead)])
        self.to_v = nn.ModuleList([nn.Linear(channels, dim, bias=False) for _ in range(nhead)])
        E, F = projection_of_keys(length, kept), projection_of_keys(length, kept)
        self.heads = nn.ModuleList([LinearHead(dim, dropout, E, F, mask, full_attention) for _ in range(nhead)])
        self.w_o = nn.Linear(dim * nhead, channels)

    def forward(self, x):
        outputs = []
        for index, head in enumerate(self.heads):
            outputs.append(head(self.to_q[index](x), self.to_k[index](x), self.to_v[index](x)))
        return self.w_o(torch.cat(outputs, dim=-1))
