"""Errors that say that there was no memory left."""

from __future__ import annotations

import torch

NO_MEMORY = ("can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""Of messages of allocators without an error type of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory left: on a CPU torch has no type of its own for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
