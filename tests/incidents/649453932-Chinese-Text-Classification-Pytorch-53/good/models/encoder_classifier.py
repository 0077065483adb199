import torch
import torch.nn as nn
import torch.nn.functional as F


class Config:
    """The settings of this model."""

    def __init__(self, embed=32, num_head=4, hidden=64, num_encoder=2, classes=3):
        self.dropout = 0.5
        self.dim_model = embed
        self.num_head = num_head
        self.hidden = hidden
        self.num_encoder = num_encoder
        self.classes = classes
        self.pad_size = 6
        self.vocabulary = 50


class Scaled_Product(nn.Module):
    def forward(self, Q, K, V, scale=None):
        scores = torch.matmul(Q, K.permute(0, 2, 1))
        if scale:
            scores = scores * scale
        return torch.matmul(F.softmax(scores, dim=-1), V)


class Multi_Head(nn.Module):
    def __init__(self, dim_model, num_head, dropout=0.0):
        super().__init__()
        self.num_head = num_head
        assert dim_model % num_head == 0
        self.dim_head = dim_model // self.num_head
        self.fc_q = nn.Linear(dim_model, num_head * self.dim_head)
        self.fc_k = nn.Linear(dim_model, num_head * self.dim_head)
        self.fc_v = nn.Linear(dim_model, num_head * self.dim_head)
        self.attention = Scaled_Product()
        self.fc = nn.Linear(num_head * self.dim_head, dim_model)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(dim_model)

    def _heads_aside(self, x):
        n, t, _ = x.shape
        x = x.view(n, t, self.num_head, self.dim_head).transpose(1, 2)
        return x.reshape(n * self.num_head, t, self.dim_head)

    def forward(self, x):
        n = x.size(0)
        q, k, v = self.fc_q(x), self.fc_k(x), self.fc_v(x)
        q = self._heads_aside(q)
        k = self._heads_aside(k)
        v = self._heads_aside(v)
        context = self.attention(q, k, v, k.size(-1) ** -0.5)
        context = context.view(n, self.num_head, -1, self.dim_head).transpose(1, 2)
        context = context.reshape(n, -1, self.dim_head * self.num_head)
        return self.layer_norm(self.dropout(self.fc(context)) + x)


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.dim_model)
        self.encoders = nn.ModuleList(
            [Multi_Head(config.dim_model, config.num_head, config.dropout) for _ in range(config.num_encoder)]
        )
        self.head = nn.Linear(config.pad_size * config.dim_model, config.classes)

    def forward(self, ids):
        out = self.embedding(ids)
        for encoder in self.encoders:
            out = encoder(out)
        return self.head(out.view(out.size(0), -1))
