"""Models that a file describes: denoisers, mixtures of experts, latent spaces; and these files."""
