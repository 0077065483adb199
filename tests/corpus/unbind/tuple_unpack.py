# run: MultiHeadSelfAttention(20, 5)(torch.randn(2, 4, 20))
import torch
from torch import nn


class MultiHeadSelfAttention(nn.Module):
    def __init__(self, embedding_dim, head_num):
        super().__init__()
        self.head_num = head_num
        self.dk = (embedding_dim // head_num) ** 0.5
        self.qkv_layer = nn.Linear(embedding_dim, embedding_dim * 3, bias=False)
        self.out_attention = nn.Linear(embedding_dim, embedding_dim, bias=False)

    def forward(self, x):
        n, t, c = x.shape
        qkv = self.qkv_layer(x)
        qkv = qkv.reshape(n, t, 3, self.head_num, c // self.head_num).permute(2, 0, 3, 1, 4)
        query, key, value = qkv  # expect: MHA002

        energy = query @ key.transpose(2, 3) / self.dk
        attention = energy.softmax(dim=-1)

        x = attention @ value
        x = x.transpose(1, 2).reshape(n, t, c)
        return self.out_attention(x)
