"""The network. Shape legend: B batch, C channels, H W image, N = H W tokens, D width, A heads, E head dimension, L context length."""
