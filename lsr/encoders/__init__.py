"""What the denoiser works on (latents) and what guides it (context)."""
