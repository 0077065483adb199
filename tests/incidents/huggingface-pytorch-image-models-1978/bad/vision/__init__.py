from .models import ClassAttention, PatchAttention
