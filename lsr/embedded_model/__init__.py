"""The model that `lsr upscale` takes by itself: its weights, and its card."""
