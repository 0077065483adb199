from dataclasses import dataclass


@dataclass
class ChatConfig:
    hidden_size: int = 32
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    num_hidden_layers: int = 2
    vocab_size: int = 50
    attention_dropout: float = 0.0
    _attn_implementation: str = "sdpa"
