"""How much of what a GPU can do a training uses."""

from __future__ import annotations

import functools
from typing import Any

import lightning as L
import torch
from torch import nn

from autocast.generative.noise import Noise
from autocast.nn.flops import counting_flops
from autocast.types import Batch

PEAKS = {
    "H100 PCIe": {"bf16": 756.0, "tf32": 378.0, "fp32": 51.0},
    "H100": {"bf16": 989.0, "tf32": 495.0, "fp32": 67.0},
    "H200": {"bf16": 989.0, "tf32": 495.0, "fp32": 67.0},
    "A100": {"bf16": 312.0, "tf32": 156.0, "fp32": 19.5},
}
"""TFLOP/s of dense matrix products, from the makers' data sheets, by what a device's name holds."""
GRADIENTS = 3
"""Operations of a loss and its gradients, in those of the loss: what is computed again to save memory is left out."""


def peaks_of(device_name: str) -> dict[str, float]:
    """TFLOP/s by number format; nothing where they are not known."""
    return next((found for name, found in PEAKS.items() if name in device_name), {})


def count_flops(model: nn.Module, batch: Batch) -> int:
    """Floating point operations of matrix products and convolutions in a loss and its gradients, for one sample of a
    batch; 0 where a device has no memory to count them. Attention counts as the products that it consists of."""
    was_training = model.training
    model.eval()
    first = batch.map(lambda x: x[:1])
    loss: Any = model.loss
    try:
        with counting_flops() as counter:
            loss(first, Noise([(0, 0)]))
    except torch.OutOfMemoryError:
        return 0
    finally:
        model.train(was_training)
    return GRADIENTS * counter.total


class Utilisation:
    """Of the GPUs of a training.

    Args:
        trainer: Knows the device and the precision.
        flops: Of one sample, from `count_flops`.
    """

    def __init__(self, trainer: L.Trainer, flops: int):
        self._device = trainer.strategy.root_device
        self._n_devices = trainer.world_size
        self._flops = flops
        self.format = _number_format(str(trainer.precision))
        self.peak = peaks_of(torch.cuda.get_device_name(self._device)).get(self.format)

    def summary(self, samples_per_second: float) -> str:
        """`GPU 96 % · 41 % of bf16 peak`, as far as it is known."""
        busy = _busy(self._device)
        parts = [] if busy is None else [f"GPU {busy} %"]
        if self.peak and self._flops:
            share = samples_per_second * self._flops / (1e12 * self.peak * self._n_devices)
            parts.append(f"{100 * share:.0f} % of {self.format} peak")
        return " · ".join(parts)


def _number_format(precision: str) -> str:
    """Of products, by Lightning's precision and by whether TF32 is allowed now."""
    if "16" in precision:
        return "bf16"
    return "fp32" if torch.get_float32_matmul_precision() == "highest" else "tf32"


@functools.cache
def _can_be_asked(device: torch.device) -> bool:
    """Whether a GPU's driver tells how busy it is: that takes the package nvidia-ml-py, a whole GPU, and permission."""
    try:
        torch.cuda.utilization(device)
    except Exception:  # NVML has two dozen of its own, and none of them is worth a training
        return False
    return True


def _busy(device: torch.device) -> int | None:
    """Share of the last moment, in percent, in which something ran on a GPU; None where nobody tells."""
    return torch.cuda.utilization(device) if _can_be_asked(device) else None
