from .rotary import rotate, sincos
