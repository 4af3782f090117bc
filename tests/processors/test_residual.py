import functools
from itertools import product
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import distributed

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.generative.samplers import Euler
from autocast.layout import steps_to_channels
from autocast.nn.backbone import Backbone
from autocast.processors.direct import Direct
from autocast.processors.flow_matching import FlowMatching
from autocast.processors.residual import Residual
from autocast.types import Condition, EncodedSpec

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SPEC = EncodedSpec(2, 3, 4, (8, 12), (True, False), n_scalars=1, n_constant_channels=3, boundary=("periodic", "wall"))
SPECS = {
    "1d": EncodedSpec(2, 3, 1, (8,), (False,), n_scalars=3, boundary=("open",)),
    "2d": SPEC,
    "3d": EncodedSpec(2, 1, 2, (4, 8, 12), (False, True, True)),
    "frames": EncodedSpec(2, 1, 1, (8, 12), (True, False), n_frames_input=3, n_frames_output=5),
}


class Constant(Backbone):
    """Answers with one number everywhere, and keeps what it was asked."""

    def __init__(self, in_channels, out_channels, *, grid_shape, periodic, condition_features, value):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))
        self.sizes = (in_channels, out_channels, condition_features)
        self.asked = []

    def forward(self, x, condition):
        assert (x.shape[1], condition.shape[1]) == (self.sizes[0], self.sizes[2])
        self.asked.append(x)
        return self.value.expand(x.shape[0], self.sizes[1], *x.shape[2:])


def constant(value):
    return functools.partial(Constant, value=value)


def residual(spec=SPEC, **options):
    options = {
        "prediction": functools.partial(Direct, backbone=constant(1.5), increment=False),
        "correction": functools.partial(FlowMatching, backbone=constant(2.0), sampler=Euler(2), increment=False),
        "condition_noise": 0.0,
        **options,
    }
    return Residual(spec, **options)


def composed(spec, *overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        leaf = compose(overrides=["+processor@leaf=residual", *overrides]).leaf
    torch.manual_seed(0)
    return instantiate(leaf, _convert_="all")(spec)


def data(spec=SPEC, n_rows=2):
    generator = torch.Generator().manual_seed(1)
    normal = functools.partial(torch.randn, n_rows, generator=generator)
    return (
        normal(spec.n_steps_input, *spec.grid_shape, spec.n_channels_input),
        normal(spec.n_steps_output, *spec.grid_shape, spec.n_channels_output),
        Condition(
            normal(spec.n_scalars) if spec.n_scalars else None,
            normal(*spec.grid_shape, spec.n_constant_channels) if spec.n_constant_channels else None,
        ),
    )


def noise_of(*rows):
    return Noise([(0, row) for row in rows or (0, 1)])


def test_a_forecast_is_the_prediction_plus_a_scaled_draw():
    processor = residual()
    processor.residual_scale.copy_(torch.tensor([0.1, 10.0]))
    x, _, condition = data()
    drawn = (noise_of().normal(8, 8, 12, like=x) + 2).unflatten(1, (4, 2)).movedim(2, -1)
    expected = 1.5 + torch.tensor([0.1, 10.0]) * drawn
    torch.testing.assert_close(processor.sample(x, condition, noise_of()), expected)


def test_the_correction_sees_the_prediction_and_all_that_is_known():
    processor = residual()
    x, _, condition = data()
    processor.sample(x, condition, noise_of())
    (predicted,), (corrected, _) = processor.prediction.backbone.asked, processor.correction.backbone.asked
    n_targets, n_known = 8, predicted.shape[1]
    assert corrected.shape[1] == n_targets + n_known + n_targets
    known = corrected[:, n_targets:]
    assert torch.equal(known[:, :9], predicted[:, :9])
    assert (known[:, 9:-1] == 1.5).all()
    assert torch.equal(known[:, -1:], predicted[:, -1:])


def test_prediction_and_correction_see_the_same_noise_on_the_past():
    correction = functools.partial(
        FlowMatching, backbone=constant(2.0), sampler=Euler(2), increment=False, condition_noise=0.0
    )
    processor = residual(condition_noise=0.5, correction=correction)
    x, y, condition = data()
    processor.loss(x, y, condition, noise_of())
    known = steps_to_channels(x)
    (first, second), (corrected,) = processor.prediction.backbone.asked, processor.correction.backbone.asked
    assert torch.equal(first, second)
    past = first[:, : known.shape[1]]
    assert float((past - known).std()) == pytest.approx(0.5, rel=0.1)
    assert torch.equal(corrected[:, 8 : 8 + known.shape[1]], past)


def test_the_correction_learns_what_the_prediction_leaves():
    processor = residual()
    processor.residual_scale.copy_(torch.tensor([0.1, 10.0]))
    x, y, condition = data()
    noise = noise_of()
    predicting = processor.prediction.loss(x, y, condition, noise)
    left = (y - 1.5) / torch.tensor([0.1, 10.0])
    seen = Condition(condition.scalars, torch.cat([condition.fields, torch.full((2, 8, 12, 8), 1.5)], dim=-1))
    correcting = processor.correction.loss(x, left, seen, noise)
    torch.testing.assert_close(processor.loss(x, y, condition, noise_of()), predicting + correcting)


def test_the_prediction_is_trained_by_its_own_loss_only():
    together, alone = residual(), residual()
    x, y, condition = data()
    together.loss(x, y, condition, noise_of()).backward()
    alone.prediction.loss(x, y, condition, noise_of()).backward()
    grads = [processor.prediction.backbone.value.grad for processor in (together, alone)]
    assert torch.equal(*grads)
    assert together.correction.backbone.value.grad.abs() > 0


def test_the_scale_follows_the_residuals_of_each_channel():
    processor = residual(decay=0.5)
    x, _, condition = data()
    y = 1.5 + torch.tensor([0.2, 30.0]).expand(2, 4, 8, 12, 2)
    for _ in range(30):
        processor.loss(x, y, condition, noise_of())
    torch.testing.assert_close(processor.residual_scale, torch.tensor([0.2, 30.0]), rtol=1e-3, atol=0)
    assert "residual_scale" in processor.state_dict()


def test_frames_within_a_step_share_the_scale_of_their_channel():
    processor = residual(SPECS["frames"], decay=0.0)
    x, _, condition = data(SPECS["frames"])
    y = 1.5 + torch.tensor([0.2, 30.0]).repeat(5).expand(2, 1, 8, 12, 10)
    processor.loss(x, y, condition, noise_of())
    torch.testing.assert_close(processor.residual_scale, torch.tensor([0.2, 30.0]))


def test_a_residual_of_nothing_divides_nothing_by_zero():
    processor = residual(decay=0.0)
    x, _, condition = data()
    for _ in range(2):
        loss = processor.loss(x, torch.full((2, 4, 8, 12, 2), 1.5), condition, noise_of())
    assert loss.isfinite()


def test_the_scale_moves_in_training_steps_only():
    processor = residual()
    x, y, condition = data()
    with torch.no_grad():
        processor.loss(x, y, condition, noise_of())
    processor.eval().loss(x, y, condition, noise_of())
    assert (processor.residual_scale == 1).all()
    processor.train().loss(x, y, condition, noise_of())
    assert (processor.residual_scale != 1).all()


def test_ranks_agree_on_the_scale(monkeypatch):
    """Each gives its own sums, and gets those of the global batch."""
    x, y, condition = data(n_rows=5)
    whole = residual(decay=0.0)
    whole.loss(x, y, condition, noise_of(*range(5)))

    sums = []
    parts = [(slice(0, 2), residual(decay=0.0)), (slice(2, 5), residual(decay=0.0))]
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)

    def loss(part, processor):
        rows = range(5)[part]
        seen = Condition(condition.scalars[part], condition.fields[part])
        processor.loss(x[part], y[part], seen, noise_of(*rows))

    monkeypatch.setattr(distributed, "all_reduce", lambda tensor: sums.append(tensor.clone()))
    for part, processor in parts:
        loss(part, processor)
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor: tensor.copy_(sum(sums[:2])))
    for part, processor in parts:
        loss(part, processor)
        torch.testing.assert_close(processor.residual_scale, whole.residual_scale)


def test_the_scale_of_increments_is_that_of_the_prediction():
    processor = residual()
    processor.set_increment_scale(torch.tensor([0.5, 3.0]))
    for scale in (processor.prediction.increment_scale, processor.residual_scale):
        assert torch.equal(scale, torch.tensor([0.5, 3.0]))
    assert (processor.correction.increment_scale == 1).all()


CORRECTIONS = ["flow_matching", "diffusion", "diffusion_vp"]


@pytest.mark.parametrize(("correction", "spec"), [*product(CORRECTIONS, SPECS)])
def test_every_generative_processor_corrects(correction, spec):
    spec = SPECS[spec]
    processor = composed(
        spec,
        f"processor@leaf.correction={correction}",
        "leaf.prediction.backbone={width: 4, levels: 2, blocks: 1}",
        "leaf.correction.backbone={width: 4, levels: 2, blocks: 1}",
    )
    x, y, condition = data(spec)
    processor.loss(x, y, condition, noise_of()).backward()
    assert not [n for n, p in processor.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert processor.sample(x, condition, noise_of()).shape == y.shape


def test_both_backbones_and_the_sampler_are_chosen_by_name():
    processor = composed(
        SPECS["2d"],
        "backbone@leaf.prediction.backbone=vit",
        "backbone@leaf.correction.backbone=vit",
        "sampler@leaf.correction.sampler=heun",
        "leaf.prediction.backbone={dim: 8, depth: 1, heads: 2}",
        "leaf.correction.backbone={dim: 8, depth: 1, heads: 2}",
    )
    x, y, condition = data()
    assert processor.sample(x, condition, noise_of()).shape == y.shape


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["processor@leaf.prediction=ensemble"], r"processor.prediction: Ensemble draws"),
        (["processor@leaf.correction=direct"], r"processor.correction: Direct has one forecast"),
        (["leaf.correction.increment=true"], r"processor.correction.increment=true"),
        (["leaf.decay=1.0"], r"processor.decay=1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        composed(SPEC, *overrides)
