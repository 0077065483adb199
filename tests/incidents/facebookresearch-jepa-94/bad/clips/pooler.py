import torch
import torch.nn as nn
from clips.modules import QueriedBlock


class Pooler(nn.Module):
    def __init__(self, num_queries=1, embed_dim=32, num_heads=4):
        super().__init__()
        self.query_tokens = nn.Parameter(torch.zeros(1, num_queries, embed_dim))
        nn.init.trunc_normal_(self.query_tokens, std=0.02)
        self.block = QueriedBlock(embed_dim, num_heads)

    def forward(self, x):
        return self.block(self.query_tokens.repeat(len(x), 1, 1), x)
