"""Training losses on tensors."""
