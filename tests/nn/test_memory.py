"""What tells that memory ran out."""

import pytest
import torch

from autocast.nn.memory import is_out_of_memory


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            True,
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_what_says_that_memory_is_out(error, is_one):
    assert is_out_of_memory(error) is is_one


def test_the_allocator_of_a_cpu_refuses_in_words_that_are_known():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
