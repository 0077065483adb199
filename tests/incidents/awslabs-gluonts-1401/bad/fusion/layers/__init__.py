from .attention import InterpretableAttention
