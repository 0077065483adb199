from .multihead_attention import TimeFirstAttention
from .transformer_layer import EncoderLayer
