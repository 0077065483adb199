from .layers import Attention
