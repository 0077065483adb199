# run: SpatialSelfAttention(32, heads=4)(torch.randn(2, 32, 5, 6))
import torch
from torch import nn, einsum


class SpatialSelfAttention(nn.Module):
	# feature maps in, feature maps out: (b, c, h, w)
	def __init__(self, channels, heads = 4):
		super().__init__()
		self.heads = heads
		self.norm = nn.GroupNorm(8, channels)
		self.q = nn.Conv2d(channels, channels, kernel_size = 1)
		self.k = nn.Conv2d(channels, channels, kernel_size = 1)
		self.v = nn.Conv2d(channels, channels, kernel_size = 1)
		self.proj_out = nn.Conv2d(channels, channels, kernel_size = 1)

	def forward(self, x):
		h_ = self.norm(x)
		b, c, h, w = h_.shape
		d = c // self.heads
		q = self.q(h_).reshape(b, self.heads, d, h * w).permute(0, 1, 3, 2)	# b,heads,hw,d
		k = self.k(h_).reshape(b, self.heads, d, h * w)				# b,heads,d,hw
		v = self.v(h_).reshape(b, self.heads, d, h * w).permute(0, 1, 3, 2)

		w_ = torch.matmul(q, k) * d ** (-0.5)
		w_ = torch.softmax(w_, dim = -1)

		out = torch.matmul(w_, v)						# b,heads,hw,d
		out = out.permute(0, 1, 3, 2).view(b, c, h, w)	# expect: MHA001
		return x + self.proj_out(out)
