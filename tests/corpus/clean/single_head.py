# run: SelfAttention(12, 8)(torch.randn(2, 5, 12))
# run: NonLocal(16)(torch.randn(2, 16, 4, 3))
# run: Additive(6, 7, 5)(torch.randn(2, 6), torch.randn(2, 4, 7))
"""One head has nothing to mix."""
import torch
from torch import nn
import torch.nn.functional as F


class SelfAttention(nn.Module):
    def __init__(self, d_in, d_out, qkv_bias=False):
        super().__init__()
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)

    def forward(self, x):
        scores = self.W_query(x) @ self.W_key(x).transpose(-2, -1)
        weights = torch.softmax(scores / scores.shape[-1] ** 0.5, dim=-1)
        return weights @ self.W_value(x)


class NonLocal(nn.Module):
    def __init__(self, in_dim):
        super().__init__()
        self.query_conv = nn.Conv2d(in_dim, in_dim // 8, kernel_size=1)
        self.key_conv = nn.Conv2d(in_dim, in_dim // 8, kernel_size=1)
        self.value_conv = nn.Conv2d(in_dim, in_dim, kernel_size=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        b, c, width, height = x.size()
        q = self.query_conv(x).view(b, -1, width * height).permute(0, 2, 1)  # B X N X C
        k = self.key_conv(x).view(b, -1, width * height)
        attention = F.softmax(torch.bmm(q, k), dim=-1)
        v = self.value_conv(x).view(b, -1, width * height)
        out = torch.bmm(v, attention.permute(0, 2, 1)).view(b, c, width, height)
        return self.gamma * out + x


class Additive(nn.Module):
    def __init__(self, query_size, key_size, hidden):
        super().__init__()
        self.w_q = nn.Linear(query_size, hidden)
        self.w_k = nn.Linear(key_size, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, query, keys):
        features = torch.tanh(self.w_q(query).unsqueeze(1) + self.w_k(keys))
        weights = F.softmax(self.score(features).squeeze(-1), dim=1)
        return torch.bmm(weights.unsqueeze(1), keys).squeeze(1)
