from .config import fused_here
from .mlp import Mlp
