"""`lsr serve`: a page in the browser and an HTTP API that upscale photographs."""
