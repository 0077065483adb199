from .attention.multi_head import Heads
