"""Guidance of the denoiser in addition to the LR image: tags, texts and features of images."""
