import functools

import pytest
import torch

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.generative.priors import TimePrior
from autocast.generative.samplers import Euler, Heun
from autocast.nn.backbone import Backbone
from autocast.processors.direct import Direct
from autocast.processors.ensemble import Ensemble
from autocast.processors.flow_matching import FlowMatching
from autocast.types import Condition, EncodedSpec


class Constant(Backbone):
    """Answers with one number everywhere, and keeps what it was asked."""

    def __init__(self, in_channels, out_channels, *, grid_shape, periodic, condition_features, value=0.0):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))
        self.out_channels = out_channels
        self.asked = []
        self.sizes = (in_channels, out_channels, condition_features)

    def forward(self, x, condition):
        assert (x.shape[1], condition.shape[1]) == (self.sizes[0], self.sizes[2])
        self.asked.append((x, condition))
        return self.value.expand(x.shape[0], self.out_channels, *x.shape[2:])


class AtTheEnd(TimePrior):
    def __call__(self, noise, like):
        return torch.ones(len(like))


def constant(value=0.0):
    return lambda *args, **kwargs: Constant(*args, **kwargs, value=value)


SPECS = {
    "steps": EncodedSpec(2, 3, 4, (8, 12), (True, True)),
    "frames": EncodedSpec(2, 1, 1, (8, 12), (True, True), n_frames_input=3, n_frames_output=4),
}
NOISE = Noise([(0, 0), (0, 1)])


def frames(z, n_channels=2):
    """Encoded steps `(B, T, *S, F*C)` as a list of frames."""
    return [frame for step in z.unbind(1) for frame in step.split(n_channels, dim=-1)]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_increments_are_taken_from_the_last_frame(spec):
    processor = Direct(spec, backbone=constant(1.0), increment=True)
    processor.set_increment_scale(torch.tensor([0.5, 3.0]))
    x = torch.randn(2, spec.n_steps_input, 8, 12, spec.n_channels_input)
    expected = frames(x)[-1] + torch.tensor([0.5, 3.0])
    forecast = processor.sample(x, Condition(), NOISE)
    assert len(frames(forecast)) == 4
    for frame in frames(forecast):
        torch.testing.assert_close(frame, expected)
    assert processor.loss(x, forecast, Condition(), NOISE) < 1e-10


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_without_increments_the_output_is_the_forecast(spec):
    processor = Direct(spec, backbone=constant(1.5), increment=False)
    processor.set_increment_scale(torch.tensor([0.5, 3.0]))
    x = torch.randn(2, spec.n_steps_input, 8, 12, spec.n_channels_input)
    assert (processor.sample(x, Condition(), NOISE) == 1.5).all()


def test_a_channel_that_never_changes_divides_nothing_by_zero():
    processor = Direct(SPECS["steps"], backbone=constant(), increment=True)
    processor.set_increment_scale(torch.tensor([0.0, 1.0]))
    x = torch.randn(2, 3, 8, 12, 2)
    assert processor.loss(x, x[:, -1:].repeat(1, 4, 1, 1, 1), Condition(), NOISE) == 0


def test_a_flow_adds_its_velocity_to_the_noise():
    spec = SPECS["steps"]
    processor = FlowMatching(spec, backbone=constant(2.0), sampler=Euler(3), increment=False)
    forecast = processor.sample(torch.randn(2, 3, 8, 12, 2), Condition(), Noise([(0, 0), (0, 1)]))
    noise = Noise([(0, 0), (0, 1)]).normal(8, 8, 12, like=forecast)
    torch.testing.assert_close(forecast, (noise + 2).unflatten(1, (4, 2)).movedim(2, -1))


def test_a_flow_sees_the_path_then_the_past_and_is_told_of_time():
    processor = FlowMatching(SPECS["steps"], backbone=constant(), sampler=Heun(2), increment=True)
    x = torch.randn(2, 3, 8, 12, 2)
    processor.sample(x, Condition(), NOISE)
    asked = processor.backbone.asked
    assert len(asked) == 4
    for images, _ in asked:
        torch.testing.assert_close(images[:, 8:].unflatten(1, (3, 2)).movedim(2, -1), x)
    times = torch.stack([features[0] for _, features in asked])
    assert torch.equal(times[1], times[2])
    assert not torch.equal(times[0], times[1])


def test_noise_on_the_past_is_of_training_only():
    processor = FlowMatching(SPECS["steps"], backbone=constant(), sampler=Euler(1), condition_noise=0.5)
    x = torch.zeros(2, 3, 8, 12, 2)
    processor.loss(x, torch.randn(2, 4, 8, 12, 2), Condition(), NOISE)
    processor.sample(x, Condition(), NOISE)
    (trained, _), (sampled, _) = processor.backbone.asked
    assert float(trained[:, 8:].std().detach()) == pytest.approx(0.5, rel=0.1)
    assert (sampled[:, 8:] == 0).all()


def test_an_increment_in_training_leads_from_the_noised_past_to_the_truth():
    processor = FlowMatching(
        SPECS["steps"], backbone=constant(), sampler=Euler(1), condition_noise=0.5, time_prior=AtTheEnd()
    )
    processor.set_increment_scale(torch.tensor([0.7, 3.0]))
    x, y = torch.randn(2, 3, 8, 12, 2), torch.randn(2, 4, 8, 12, 2)
    processor.loss(x, y, Condition(), NOISE)
    ((images, _),) = processor.backbone.asked
    target, past = (part.unflatten(1, (-1, 2)).movedim(2, -1) for part in images.split([8, 6], dim=1))
    assert not torch.allclose(past, x)
    torch.testing.assert_close(past[:, -1:] + target * torch.tensor([0.7, 3.0]), y)


@pytest.mark.parametrize("make", [Direct, functools.partial(FlowMatching, sampler=Euler(1))])
def test_noise_on_a_channel_that_never_changes_is_no_large_target(make):
    processor = make(SPECS["steps"], backbone=constant(), increment=True, condition_noise=0.1)
    processor.set_increment_scale(torch.tensor([0.0, 1.0]))
    x = torch.zeros(2, 3, 8, 12, 2)
    assert processor.loss(x, x[:, -1:].repeat(1, 4, 1, 1, 1), Condition(), NOISE) < 3


def test_the_ends_of_the_grid_are_marked_by_kind():
    spec = EncodedSpec(2, 1, 1, (4, 3, 5), (False, True, False), boundary=("wall", "periodic", "open"))
    processor = Direct(spec, backbone=constant())
    walls, open_ends = processor.boundary_marks
    assert torch.equal(walls, torch.tensor([1.0, 0, 0, 1])[:, None, None].expand(4, 3, 5))
    assert torch.equal(open_ends, torch.tensor([1.0, 0, 0, 0, 1]).expand(4, 3, 5))
    x = torch.randn(2, 1, 4, 3, 5, 2)
    processor.sample(x, Condition(), NOISE)
    (images, _), *_ = processor.backbone.asked
    torch.testing.assert_close(images[:, 2:], processor.boundary_marks.expand(2, 2, 4, 3, 5))
    assert "boundary_marks" not in processor.state_dict()


def test_a_grid_without_ends_has_no_marks():
    for boundary in ((), ("periodic", "periodic")):
        spec = EncodedSpec(2, 1, 1, (8, 12), (True, True), boundary=boundary)
        assert Direct(spec, backbone=constant()).backbone.sizes == (2, 2, 0)


def test_members_share_the_input_and_differ_by_noise():
    processor = Ensemble(SPECS["steps"], backbone=constant(), n_members_train=3, noise_features=5)
    x = torch.randn(2, 3, 8, 12, 2)
    processor.loss(x, torch.randn(2, 4, 8, 12, 2), Condition(), NOISE)
    images, features = processor.backbone.asked[0]
    assert images.shape[0] == 6
    assert torch.equal(images[0], images[2])
    assert features.unique(dim=0).shape == (6, 5)


def test_an_embedding_of_time_has_pairs_of_features():
    with pytest.raises(ConfigError, match=r"processor.time_features=3: must be even"):
        FlowMatching(SPECS["steps"], backbone=constant(), sampler=Euler(1), time_features=3)
