# run: Llama(24, 6, 2)(torch.randn(2, 5, 24))
# run: Conditional(24, 6, 2)(torch.randn(2, 5, 24))
# run: Conditional(24, 6, 6)(torch.randn(2, 5, 24))
# run: Written(24, 6, 3)(torch.randn(2, 5, 24))
# fix: none (only a run that times it may try it)
import torch
import torch.nn.functional as F
from torch import nn


def repeat_kv(hidden_states: torch.Tensor, n_rep: int) -> torch.Tensor:
    batch, num_key_value_heads, slen, head_dim = hidden_states.shape
    if n_rep == 1:
        return hidden_states
    hidden_states = hidden_states[:, :, None, :, :].expand(batch, num_key_value_heads, n_rep, slen, head_dim)
    return hidden_states.reshape(batch, num_key_value_heads * n_rep, slen, head_dim)


class Grouped(nn.Module):
    def __init__(self, dim: int, heads: int, groups: int):
        super().__init__()
        self.heads, self.groups, self.head_dim = heads, groups, dim // heads
        self.n_rep = heads // groups
        self.q_proj = nn.Linear(dim, heads * self.head_dim)
        self.k_proj = nn.Linear(dim, groups * self.head_dim)
        self.v_proj = nn.Linear(dim, groups * self.head_dim)
        self.o_proj = nn.Linear(heads * self.head_dim, dim)

    def projected(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.groups, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.groups, self.head_dim).transpose(1, 2)
        return q, k, v

    def merged(self, y: torch.Tensor) -> torch.Tensor:
        b, h, t, d = y.shape
        return self.o_proj(y.transpose(1, 2).reshape(b, t, h * d))


class Llama(Grouped):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.projected(x)
        k = repeat_kv(k, self.n_rep)
        v = repeat_kv(v, self.n_rep)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # expect: MHA205
        return self.merged(y)


class Conditional(Grouped):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.projected(x)
        if self.groups != self.heads:
            k = k.repeat_interleave(self.n_rep, dim=1)
            v = v.repeat_interleave(self.n_rep, dim=1)
        y = F.scaled_dot_product_attention(q, k, v)  # expect: MHA205
        return self.merged(y)


class Written(Grouped):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q, k, v = self.projected(x)
        keys = k.unsqueeze(2).expand(b, self.groups, self.n_rep, t, self.head_dim).flatten(1, 2)
        values = torch.repeat_interleave(v, self.n_rep, dim=1)
        y = F.scaled_dot_product_attention(q, keys, values)  # expect: MHA205
        return self.merged(y)
