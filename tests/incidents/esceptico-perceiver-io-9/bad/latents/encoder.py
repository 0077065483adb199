import torch
from latents.attention import LatentHeads, OwnAttention
from torch import nn


class LatentEncoder(nn.Module):
    def __init__(self, num_latents=4, latent_dim=32, input_dim=12, num_heads=4, layers=2):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(num_latents, latent_dim))
        self.read = LatentHeads(input_dim, latent_dim, num_heads=num_heads)
        self.own = nn.ModuleList([OwnAttention(latent_dim, num_heads) for _ in range(layers)])

    def forward(self, x):
        latents = self.latents.expand(x.size(0), -1, -1)
        latents = latents + self.read(x, latents)
        for layer in self.own:
            latents = layer(latents)
        return latents
