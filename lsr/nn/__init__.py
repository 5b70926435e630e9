"""Layers of the transformer.

Letters in shapes: B batch, C channels, H and W height and width, N = H W tokens, D width of the
transformer, A heads, E head dimension, L length of the context.
"""
