from .class_attention import ClassAttention
from .patches import PatchAttention
