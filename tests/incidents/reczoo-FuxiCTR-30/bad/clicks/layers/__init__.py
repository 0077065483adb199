from .attention import FieldAttention, ProductAttention
