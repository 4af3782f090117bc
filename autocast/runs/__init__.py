"""Operations: composition, run directories, launching, tracking. Knows nothing of tensors."""
