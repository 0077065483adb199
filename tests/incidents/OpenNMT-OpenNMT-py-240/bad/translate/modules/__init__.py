from .heads import HeadedAttention
from .decoder import MaskedDecoder
