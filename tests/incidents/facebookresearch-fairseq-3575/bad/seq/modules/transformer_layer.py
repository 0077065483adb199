import torch
import torch.nn as nn
from seq.modules.multihead_attention import TimeFirstAttention


class EncoderLayer(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.embed_dim = args.encoder_embed_dim
        self.self_attn = self.build_self_attention(self.embed_dim, args)
        self.self_attn_layer_norm = nn.LayerNorm(self.embed_dim)

    def build_self_attention(self, embed_dim, args):
        return TimeFirstAttention(embed_dim, args.encoder_attention_heads, dropout=args.attention_dropout)

    def forward(self, x, attn_mask=None):
        """``attn_mask``: (target length, source length), 1 where a target must not see a source."""
        if attn_mask is not None:
            attn_mask = attn_mask.masked_fill(attn_mask.to(torch.bool), -1e8)  # expect: MHA108
        return self.self_attn_layer_norm(x + self.self_attn(x, attn_mask=attn_mask))
