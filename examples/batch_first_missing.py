"""Pixels and sentences, with the batch first, in layers that take the tokens first."""

import torch
import torch.nn as nn


class PixelEncoder(nn.Module):
    """Pixels look at pixels: (b, c, h, w) in, (b, c, h, w) out. They look at those of the other images."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.attend = nn.MultiheadAttention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        b, c, h, w = image.shape
        x = image.flatten(2).permute(0, 2, 1)
        y, _ = self.attend(x, x, x, need_weights=False)
        return self.norm(x + y).permute(0, 2, 1).reshape(b, c, h, w)


class SentenceClassifier(nn.Module):
    """Ids (b, t) in, one score a class out."""

    def __init__(self, vocabulary: int, dim: int, num_heads: int, classes: int, longest: int = 512):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.positions = nn.Parameter(torch.zeros(1, longest, dim))
        layer = nn.TransformerEncoderLayer(dim, num_heads, 2 * dim)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(dim, classes)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) + self.positions[:, : ids.size(1)]
        return self.head(self.encoder(x).mean(dim=1))


class TokensFirst(nn.Module):
    """The same layer, given what it takes: nothing is wrong with it."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.attend = nn.MultiheadAttention(dim, num_heads)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image.flatten(2).permute(2, 0, 1)
        y, _ = self.attend(x, x, x, need_weights=False)
        return y.permute(1, 2, 0).reshape(image.shape)
