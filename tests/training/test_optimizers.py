import functools
import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from autocast.training.optimizers import parameter_groups, warmup_constant, warmup_cosine


def rates(make, total_steps, **options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make(optimizer, lambda step: total_steps, **options)
    found = []
    for _ in range(int(min(total_steps, 200))):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*found, optimizer.param_groups[0]["lr"]]


def test_cosine_rises_to_the_rate_and_falls_to_the_final_fraction():
    found = rates(warmup_cosine, 100, warmup_steps=10, final_fraction=0.1)
    assert found[0] == pytest.approx(0.2)
    assert max(found) == found[10] == pytest.approx(2.0)
    assert found[-1] == pytest.approx(0.2)
    assert found[10:] == sorted(found[10:], reverse=True)


def test_short_runs_warm_up_shorter():
    assert max(rates(warmup_cosine, 20, warmup_steps=500)) == pytest.approx(2.0)
    assert max(rates(warmup_constant, 20, warmup_steps=500)) == pytest.approx(2.0)


@pytest.mark.parametrize("make", [warmup_cosine, warmup_constant])
def test_endless_runs_keep_the_rate(make):
    assert rates(make, math.inf, warmup_steps=5)[-1] == pytest.approx(2.0)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_very_short_runs_have_a_schedule(n):
    assert all(rate > 0 for rate in rates(warmup_cosine, n, warmup_steps=50))


def test_the_state_holds_no_function():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    assert warmup_cosine(optimizer, lambda step: 10).state_dict()["lr_lambdas"] == [None]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_configs_name_the_rate_and_partial_leaves(root: Path, name):
    config = yaml.safe_load((root / "configs" / "optimizer" / f"{name}.yaml").read_text())
    assert config["learning_rate"] > 0
    assert config["algorithm"]["_partial_"]
    assert config["lr_scheduler"]["_partial_"]


def test_norms_biases_and_embeddings_do_not_decay():
    model = nn.ModuleDict(
        {
            "convolution": nn.Conv2d(3, 4, 3),
            "norm": nn.GroupNorm(1, 4),
            "embedding": nn.Embedding(5, 4),
            "frozen": nn.Linear(4, 4).requires_grad_(False),
        }
    )
    model.register_parameter("layer_scale", nn.Parameter(torch.ones(4, 1, 1)))
    decaying, others = parameter_groups(model)
    assert {id(p) for p in decaying["params"]} == {id(model["convolution"].weight)}
    assert len(others["params"]) == 5
    optimizer = torch.optim.AdamW([decaying, others], lr=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer.step()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"convolution.weight"}


def test_a_model_without_weights_has_no_group_of_them():
    (group,) = parameter_groups(nn.LayerNorm(4))
    assert group["weight_decay"] == 0.0


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_before_a_fused_step(train, toy, precision):
    """One step of SGD is as long as its rate times the clipped norm."""
    model = toy.ToyModel()
    before = model.map.weight.detach().clone(), model.map.bias.detach().clone()
    train(
        model,
        optimizer=functools.partial(torch.optim.SGD, lr=1.0, fused=True),
        lr_scheduler=None,
        callbacks={},
        trainer_options={"precision": precision, "max_steps": 1, "gradient_clip_val": 0.01},
    )
    moved = [new - old for new, old in zip((model.map.weight, model.map.bias), before, strict=True)]
    assert torch.cat([change.flatten() for change in moved]).norm().item() == pytest.approx(0.01, rel=1e-3)
