import torch.nn as nn
import torch.nn.functional as F
from voice.config import VoiceConfig
from voice.state import DecoderState


class VoiceAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x, attn_mask=None, is_causal=False):
        b, t, c = x.shape
        q = self.q_proj(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=attn_mask if not is_causal else None,
            scale=self.head_dim**-0.5,
            is_causal=is_causal,
        )
        return self.o_proj(y.transpose(1, 2).reshape(b, t, c))


class VoiceLayer(nn.Module):
    def __init__(self, config: VoiceConfig):
        super().__init__()
        self.norm = nn.RMSNorm(config.decoder.n_embd)
        self.self_attention = VoiceAttention(config.decoder.n_embd, config.decoder.heads)

    def forward(self, x, state: DecoderState, prefill: bool = False):
        mask = state.prefill_mask if prefill else None
        return x + self.self_attention(self.norm(x), attn_mask=mask, is_causal=prefill)


class VoiceDecoder(nn.Module):
    def __init__(self, config: VoiceConfig):
        super().__init__()
        self.layers = nn.ModuleList([VoiceLayer(config) for _ in range(config.decoder.n_layer)])

    def forward(self, x, state):
        for layer in self.layers:
            x = layer(x, state, prefill=True)
        return x
