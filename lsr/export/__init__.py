"""Models that leave PyTorch or this machine: ONNX files, a page for browsers, a repository."""
