# run: Attention(64, 4)(torch.randn(2, 5, 64))
# fix: unsafe
import torch
from torch import nn


def eager_attention(query, key, value, scaling, mask=None):
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if mask is not None:
        scores = scores + mask
    return torch.matmul(nn.functional.softmax(scores, dim=-1), value).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, embed_dim, num_heads=4):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, embed_dim // num_heads
        self.scaling = embed_dim**-0.5
        self.q_proj = nn.Linear(embed_dim, embed_dim)
        self.k_proj = nn.Linear(embed_dim, embed_dim)
        self.v_proj = nn.Linear(embed_dim, embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, hidden_states):
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        q = self.q_proj(hidden_states).view(shape).transpose(1, 2)
        k = self.k_proj(hidden_states).view(shape).transpose(1, 2)
        v = self.v_proj(hidden_states).view(shape).transpose(1, 2)
        out = eager_attention(q, k, v, scaling=self.scaling)  # expect: MHA104
        return self.out_proj(out.reshape(*hidden_states.shape[:-1], -1))
