import torch.nn as nn
from modules import Within


class SetEncoder(nn.Module):
    def __init__(self, dim_input=3, dim_hidden=32, num_heads=4, ln=False):
        super().__init__()
        self.enc = nn.Sequential(
            Within(dim_input, dim_hidden, num_heads, ln=ln),
            Within(dim_hidden, dim_hidden, num_heads, ln=ln),
        )

    def forward(self, X):
        return self.enc(X).mean(dim=1)
