"""What guides the denoiser beside the LR image: tags, texts and image features, from the photograph to the context."""
