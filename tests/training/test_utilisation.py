"""What a GPU does of what it could."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from autocast.training import utilisation
from autocast.training.utilisation import Utilisation, count_flops, peaks_of
from autocast.types import Batch


class Linear(nn.Module):
    """One product of `(1, 6)` with `(6, 4)` a sample: 2 x 6 x 4 operations."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def loss(self, batch, noise):
        assert len(noise) == batch.size
        assert not self.training
        return {"loss": self.layer(batch.input_fields.flatten(1)).square().mean()}


def test_operations_are_those_of_the_loss_and_twice_as_many_for_gradients():
    model, batch = Linear(), Batch(torch.zeros(5, 1, 3, 2), torch.zeros(5, 1, 3, 2))
    assert count_flops(model, batch) == 3 * 2 * 6 * 4
    assert model.training
    assert model.layer.weight.grad is None


@pytest.mark.parametrize(
    ("name", "bf16"), [("NVIDIA H100 80GB HBM3", 989.0), ("NVIDIA H100 PCIe", 756.0), ("NVIDIA T4", None)]
)
def test_peaks_are_known_by_the_devices_name(name, bf16):
    assert peaks_of(name).get("bf16") == bf16


@pytest.mark.parametrize(
    ("precision", "products", "busy", "said"),
    [
        ("bf16-mixed", "highest", 96, "GPU 96 % · 20 % of bf16 peak"),
        ("32-true", "high", None, "40 % of tf32 peak"),
        ("32-true", "highest", 7, "GPU 7 % · 299 % of fp32 peak"),
    ],
)
def test_the_share_is_of_the_peak_of_all_devices(monkeypatch, precision, products, busy, said):
    """Two devices, 400 samples a second of a TFLOP each."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: products)
    monkeypatch.setattr(utilisation, "_busy", lambda device: busy)
    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    trainer = SimpleNamespace(strategy=strategy, world_size=2, precision=precision)
    assert Utilisation(trainer, flops=10**12).summary(400) == said


def test_a_driver_that_cannot_be_asked_is_no_error():
    assert utilisation._busy(torch.device("cuda")) is None or torch.cuda.is_available()
