import torch
from torch import nn

from ...integrations.fused import fused_attention_forward, repeat_kv
from .configuration_chat import ChatConfig


def eager_attention_forward(module, query, key, value, attention_mask, dropout=0.0, scaling=None):
    key, value = repeat_kv(key, module.num_key_value_groups), repeat_kv(value, module.num_key_value_groups)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, :, : key.shape[-2]]
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous()


FUNCTIONS = {"eager": eager_attention_forward, "sdpa": fused_attention_forward}


class ChatAttention(nn.Module):
    def __init__(self, config: ChatConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * self.head_dim, config.hidden_size, bias=False)

    def forward(self, hidden_states, attention_mask):
        shape = hidden_states.shape[:-1]
        query = self.q_proj(hidden_states).view(*shape, -1, self.head_dim).transpose(1, 2)
        key = self.k_proj(hidden_states).view(*shape, -1, self.head_dim).transpose(1, 2)
        value = self.v_proj(hidden_states).view(*shape, -1, self.head_dim).transpose(1, 2)
        attend = FUNCTIONS[self.config._attn_implementation]
        y = attend(
            self, query, key, value, attention_mask,  # or here: MHA106
            dropout=self.attention_dropout if self.training else 0.0, scaling=self.scaling,
        )
        return self.o_proj(y.reshape(*shape, -1).contiguous())


class ChatModel(nn.Module):
    def __init__(self, config: ChatConfig):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([ChatAttention(config) for _ in range(config.num_hidden_layers)])

    def forward(self, input_ids):
        hidden_states = self.embed(input_ids)
        mask = self._causal_mask(input_ids.shape[1], hidden_states)
        for layer in self.layers:
            hidden_states = hidden_states + layer(hidden_states, mask)
        return hidden_states

    def _causal_mask(self, length, like):
        lowest = torch.finfo(like.dtype).min
        mask = torch.full((length, length), fill_value=lowest, dtype=like.dtype, device=like.device)
        mask = torch.triu(mask, diagonal=1)[None, None, :, :].expand(like.shape[0], 1, -1, -1)
        if self.config._attn_implementation == "sdpa":
            mask = mask.bool()  # or here: MHA106
        return mask
