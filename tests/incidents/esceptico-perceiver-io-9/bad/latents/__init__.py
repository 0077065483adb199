from .encoder import LatentEncoder
