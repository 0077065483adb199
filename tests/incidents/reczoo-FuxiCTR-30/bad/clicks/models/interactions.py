from clicks.layers import FieldAttention
from torch import nn


class Interactions(nn.Module):
    def __init__(self, fields=5, embedding_dim=16, attention_layers=2, num_heads=2):
        super().__init__()
        self.attention = nn.Sequential(
            *[SelfField(embedding_dim, num_heads) for _ in range(attention_layers)]
        )
        self.fc = nn.Linear(fields * embedding_dim, 1)

    def forward(self, features):
        return self.fc(self.attention(features).flatten(start_dim=1))


class SelfField(FieldAttention):
    def __init__(self, dim, heads):
        super().__init__(dim, num_heads=heads, use_scale=True)

    def forward(self, X):
        return super().forward(X, X, X)
