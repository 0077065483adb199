from .gated import TilePooling
