# run: EncoderAttention(32, 8)(torch.randn(2, 5, 32))
import torch
import torch.nn as nn


class EncoderAttention(nn.Module):
    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv_projection = nn.Linear(embed_dim, embed_dim * 3, bias=False)
        self.output_projection = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, channels = x.shape
        # 3 x (batch, heads, tokens, channels per head)
        query, key, value = (
            self.qkv_projection(x)
            .reshape(
                batch,
                tokens,
                3,
                self.num_heads,
                channels // self.num_heads,
            )
            .permute(2, 0, 3, 1, 4)
            .unbind(dim=0)  # expect: MHA002
        )
        weights = torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, dim=-1)
        return self.output_projection((weights @ value).transpose(1, 2).flatten(2))
