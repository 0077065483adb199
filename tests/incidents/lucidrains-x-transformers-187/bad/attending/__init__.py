from .layers import CachingAttention
