import torch
import torch.nn as nn
import torch.nn.functional as F


class TilePooling(nn.Module):
    """A slide is the weighted mean of its tiles; slides have different numbers of tiles, so they are padded."""

    def __init__(self, feature_size=32, hidden_dim=16, attn_dim=8, n_classes=2):
        super().__init__()
        self.linear = nn.Linear(feature_size, hidden_dim)
        self.attention = nn.Sequential(nn.Linear(hidden_dim, attn_dim), nn.Tanh(), nn.Linear(attn_dim, 1))
        self.head = nn.Linear(hidden_dim, n_classes)

    def forward(self, feats, mask):
        h = self.linear(feats).relu()
        scores = self.attention(h).squeeze(-1)
        scores = scores.masked_fill(mask == 0, float("-inf"))
        weights = F.softmax(scores, dim=-1)
        slide = torch.einsum("bn,bnd->bd", weights, h)
        return self.head(slide)
