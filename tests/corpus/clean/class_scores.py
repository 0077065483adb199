# run: Segmenter(32, 5)(torch.randn(2, 32, 4, 3), torch.randn(2, 8, 32))
# run: Frequencies(8)(torch.arange(5.0))
# run: flat(torch.randn(2, 4, 3, 2, 2), False)
"""Products that are no attention: classes of queries and their masks, frequencies of positions; other memory formats."""
import torch
from torch import nn


class Segmenter(nn.Module):
    """A softmax over classes, which then weigh each query's mask of the image."""

    def __init__(self, dim, queries):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, dim))
        self.embed, self.name = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, image, classes):
        tokens = self.embed(self.queries + image.flatten(2).mean(2)[:, None])
        scores, masks = tokens @ self.name(classes).transpose(1, 2), torch.einsum("bqc,bchw->bqhw", tokens, image)
        return self.predict(scores, masks), self.weighed(scores, masks.flatten(2))

    def predict(self, scores, masks):
        kinds = scores.softmax(dim=-1)[..., :-1]  # the last is for none
        return torch.einsum("bqc,bqhw->bchw", kinds, masks.sigmoid())

    def weighed(self, scores, masks):
        return torch.einsum("bqc,bqn->bcn", scores.softmax(dim=-1), masks)


class Frequencies(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.register_buffer("inverse", 1.0 / 10000 ** (torch.arange(0, dim, 2) / dim), persistent=False)

    def forward(self, positions):
        angles = torch.einsum("..., f -> ... f", positions, self.inverse)
        return torch.cat([torch.zeros(1, angles.shape[-1]), angles], dim=0).cos()


def flat(x, channels_last):
    """The storage of images, whatever the memory format that they are in."""
    return x.permute(0, 2, 3, 4, 1).view(-1) if channels_last else x.view(-1)
