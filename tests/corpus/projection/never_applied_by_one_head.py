# fix: none (where the projection belongs is not known)
# run: ImageAttention(6)(torch.randn(2, 6, 3, 4))
import torch
from torch import nn


class ImageAttention(nn.Module):  # expect: MHA003
    """One head over the pixels; the projection behind it is built, and that is all."""

    def __init__(self, channels):
        super().__init__()
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = nn.Conv2d(channels, channels, 1)

    def forward(self, image):
        b, c, height, width = image.shape
        q, k, v = self.to_qkv(image).flatten(2).chunk(3, dim=1)
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) * c**-0.5, dim=-1)
        seen = torch.einsum("bij,bcj->bci", weights, v)
        return image + seen.view(b, c, height, width)
