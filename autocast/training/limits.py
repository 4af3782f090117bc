"""How many batches of those that there are a training looks at."""

from __future__ import annotations


def limited(n_batches: int, limit: float | None) -> int:
    """Of `n_batches` those that Lightning's `limit_train_batches` or `limit_val_batches` leaves.

    Args:
        n_batches: That the loader gives.
        limit: A whole number of batches, a fraction of them, or None for all.
    """
    if limit is None:
        return n_batches
    return min(n_batches, limit) if isinstance(limit, int) else int(n_batches * limit)
