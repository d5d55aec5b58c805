"""Training objectives, each a small function usable alone; PyTorch tensors in, a scalar tensor out."""
