"""Whatever a weights file rebuilds: the denoiser, the mixture of experts, the latent space, and their files."""
