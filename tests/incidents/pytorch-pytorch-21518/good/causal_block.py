import torch
from torch import nn


class CausalBlock(nn.Module):
    def __init__(self, hidden_dim=6, head_num=2):
        super().__init__()
        self.mha = torch.nn.MultiheadAttention(hidden_dim, head_num)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, inputs):
        """``inputs`` are (time, batch, width), as the layer wants them."""
        steps = inputs.shape[0]
        attn_mask = torch.tril(torch.ones((steps, steps), device=inputs.device))
        outputs, _ = self.mha(inputs, inputs, inputs, attn_mask=attn_mask == 0)
        return self.norm(inputs + outputs)
