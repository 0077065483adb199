# run: MultiheadSelfAttention(embedding_dimension=40, number_of_heads=5)(torch.randn(2, 6, 40))
"""Self-attention formatted by black with a short line length."""
import torch
import torch.nn as nn


class MultiheadSelfAttention(nn.Module):
    def __init__(
        self,
        embedding_dimension: int,
        number_of_heads: int,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.number_of_heads = number_of_heads
        self.head_dimension = embedding_dimension // number_of_heads
        self.to_query = nn.Linear(embedding_dimension, embedding_dimension)
        self.to_key = nn.Linear(embedding_dimension, embedding_dimension)
        self.to_value = nn.Linear(embedding_dimension, embedding_dimension)
        self.to_output = nn.Linear(embedding_dimension, embedding_dimension)
        self.attention_dropout = nn.Dropout(attention_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        batch_size, sequence_length, width = hidden_states.shape
        heads = self.number_of_heads

        query = (
            self.to_query(hidden_states)
            .view(batch_size, sequence_length, heads, self.head_dimension)
            .transpose(1, 2)
        )
        key = (
            self.to_key(hidden_states)
            .view(batch_size, sequence_length, heads, self.head_dimension)
            .transpose(1, 2)
        )
        value = (
            self.to_value(hidden_states)
            .view(batch_size, sequence_length, heads, self.head_dimension)
            .transpose(1, 2)
        )

        scores = query @ key.transpose(-1, -2) * self.head_dimension**-0.5
        weights = self.attention_dropout(scores.softmax(dim=-1))

        context = (
            (weights @ value)  # (batch, heads, sequence, head)
            .transpose(1, 2)  # (batch, sequence, heads, head)
            .view(  # expect: MHA001
                batch_size,
                sequence_length,
                width,  # all heads
            )
        )
        return self.to_output(context)
