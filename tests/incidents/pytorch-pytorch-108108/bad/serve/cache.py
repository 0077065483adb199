import torch


class KeyValueCache:
    """The keys and values of all tokens so far."""

    def __init__(self):
        self.keys = None
        self.values = None

    def update(self, k, v):
        if self.keys is not None:
            k = torch.cat([self.keys, k], dim=-2)
            v = torch.cat([self.values, v], dim=-2)
        self.keys, self.values = k, v
        return k, v
