from denoise.unet import PixelAttention
from torch import nn


class Middle(nn.Module):
    def __init__(self, n_channels):
        super().__init__()
        self.conv = nn.Conv2d(n_channels, n_channels, kernel_size=3, padding=1)
        self.attn = PixelAttention(n_channels, n_heads=2, d_k=8)

    def forward(self, x, t=None):
        return self.attn(self.conv(x), t)
