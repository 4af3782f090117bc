"""Processors that forecast in one network call: members, windows, and what is computed again."""

import functools

import pytest
import torch
from torch import nn

from autocast.errors import ConfigError
from autocast.generative.noise import Noise
from autocast.layout import merge_frames, split_frames
from autocast.losses.ensemble import crps
from autocast.nn.backbone import Backbone
from autocast.nn.unet import UNet
from autocast.processors.direct import Direct
from autocast.processors.ensemble import Ensemble
from autocast.rollout import rollout
from autocast.types import Condition, EncodedSpec


class Linear(Backbone):
    """A linear map of the channels and features of every point; keeps what it saw and what it gave."""

    def __init__(self, in_channels, out_channels, *, grid_shape, periodic, condition_features):
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(in_channels + condition_features, out_channels)
        self.seen, self.told, self.given = [], [], []

    def forward(self, x, condition):
        self.seen.append(x)
        self.told.append(condition)
        told = condition.reshape(*condition.shape, *[1] * (x.ndim - 2)).expand(*condition.shape, *x.shape[2:])
        self.given.append(self.map(torch.cat([x, told], dim=1).movedim(1, -1)).movedim(-1, 1))
        return self.given[-1]


UNET = functools.partial(UNet, width=4, levels=1, blocks=1)
GRID = (4, 6)
SPECS = {
    "long past": EncodedSpec(2, 3, 1, GRID, (True, False), boundary=("periodic", "wall")),
    "short past": EncodedSpec(2, 1, 3, GRID, (True, True), n_scalars=1, n_constant_channels=3),
    "merged long past": EncodedSpec(2, 1, 1, GRID, (True, True), n_frames_input=3, n_frames_output=2),
    "merged short past": EncodedSpec(2, 1, 1, GRID, (True, True), n_frames_input=1, n_frames_output=3),
}
STEPS = SPECS["long past"]
N_ROWS = 5


def data(spec=STEPS, n_windows=1):
    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(N_ROWS, *shape, generator=generator)

    x = normal(spec.n_steps_input, *GRID, spec.n_channels_input)
    y = normal(n_windows * spec.n_steps_output, *GRID, spec.n_channels_output)
    known = (normal(1), normal(*GRID, 3)) if spec.n_scalars else ()
    return x, y, Condition(*known)


def noise():
    return Noise([(0, row) for row in range(N_ROWS)])


def gradients(processor, loss):
    return torch.autograd.grad(loss, list(processor.parameters()))


def make(kind, spec=STEPS, *, backbone=Linear, **settings):
    torch.manual_seed(0)
    processor = kind(spec, backbone=backbone, **settings)
    processor.set_increment_scale(torch.tensor([0.5, 0.2]))
    return processor


@pytest.mark.parametrize("increment", [True, False])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_the_unrolled_loss_is_the_error_of_a_rollout(spec, increment):
    processor = make(Direct, spec, increment=increment)
    x, y, condition = data(spec, n_windows=3)
    n_input = spec.n_steps_input

    def step(frames):
        return split_frames(processor.sample(merge_frames(frames, n_input), condition, noise()), 2)

    truth = split_frames(y, 2)
    forecast = torch.cat(list(rollout(step, split_frames(x, 2), truth.shape[1])), dim=1)
    scale = torch.tensor([0.5, 0.2]) if increment else 1
    expected = ((forecast - truth) / scale).square().mean()
    torch.testing.assert_close(processor.loss(x, y, condition, noise()), expected)


@pytest.mark.parametrize("pushforward", [True, False])
@pytest.mark.parametrize("kind", [Direct, Ensemble])
def test_pushforward_stops_gradients_between_windows(kind, pushforward, monkeypatch):
    processor = make(kind, pushforward=pushforward)
    distance, n_calls = processor.distance, []

    def of_the_last_window(deviations, truth):
        n_calls.append(1)
        return distance(deviations, truth) * (len(n_calls) == 3)

    monkeypatch.setattr(processor, "distance", of_the_last_window)
    loss = processor.loss(*data(n_windows=3), noise())
    found = torch.autograd.grad(loss, processor.backbone.given, retain_graph=True)
    assert [bool(gradient.any()) for gradient in found] == [not pushforward, not pushforward, True]


@pytest.mark.parametrize("pushforward", [True, False])
@pytest.mark.parametrize("kind", [Direct, Ensemble])
def test_windows_that_are_computed_again_give_the_same(kind, pushforward):
    found = []
    for recomputed in (False, True):
        processor = make(kind, backbone=UNET, pushforward=pushforward, gradient_checkpointing=recomputed)
        loss = processor.loss(*data(n_windows=3), noise())
        found.append([loss, *gradients(processor, loss)])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@pytest.mark.parametrize("n_windows", [1, 2])
def test_members_in_several_calls_give_the_same(n_windows):
    found = []
    for members_per_call in (None, 3, 1):
        processor = make(Ensemble, SPECS["short past"], n_members_train=7, members_per_call=members_per_call)
        loss = processor.loss(*data(SPECS["short past"], n_windows), noise())
        n_members = [len(x) // N_ROWS for x in processor.backbone.seen]
        assert n_members == {None: [7], 3: [3, 3, 1], 1: [1] * 7}[members_per_call] * n_windows
        found.append([loss, *gradients(processor, loss)])
    for others in found[1:]:
        torch.testing.assert_close(others, found[0])


def test_memory_for_activations_does_not_grow_with_members_in_several_calls():
    def kept(n_members, members_per_call):
        """Bytes that wait for the backward pass, for each member."""
        sizes = {}

        def pack(x):
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        processor = make(Ensemble, backbone=UNET, n_members_train=n_members, members_per_call=members_per_call)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = processor.loss(*data(), noise())
        assert loss.requires_grad
        return sum(sizes.values()) / n_members

    assert kept(12, 2) < 0.15 * kept(12, None)


def test_members_go_on_from_their_own_forecasts_with_new_noise():
    processor = make(Ensemble, n_members_train=4, noise_features=6)
    x, y, condition = data(n_windows=2)
    processor.loss(x, y, condition, noise())
    (first, second), (told_first, told_second) = processor.backbone.seen, processor.backbone.told
    assert torch.equal(first[0], first[3])
    assert len({tuple(row.tolist()) for row in torch.cat([told_first, told_second])}) == 2 * 4 * N_ROWS
    past = second.unflatten(0, (N_ROWS, 4))[:, :, :6].unflatten(2, (3, 2)).movedim(3, -1)
    answers = processor.backbone.given[0].unflatten(0, (N_ROWS, 4)).movedim(2, -1)
    forecasts = x[:, None, -1] + torch.tensor([0.5, 0.2]) * answers
    torch.testing.assert_close(past[:, :, -1], forecasts)
    torch.testing.assert_close(past[:, :, :-1], x[:, None, 1:].expand(-1, 4, *x[:, 1:].shape[1:]))


def test_the_ensembles_loss_is_the_crps_of_its_members():
    processor = make(Ensemble, n_members_train=4, noise_features=6, alpha=0.3)
    x, y, condition = data()
    loss = processor.loss(x, y, condition, noise())
    members = processor.backbone.given[0].unflatten(0, (N_ROWS, 4)).movedim(2, -1).unsqueeze(2)
    target = (y - x[:, -1:]) / torch.tensor([0.5, 0.2])
    torch.testing.assert_close(loss, crps(members, target, 0.3).mean())


@pytest.mark.parametrize("increment", [True, False])
def test_vmse_is_of_full_fields_by_their_variance_in_space(increment):
    processor = make(Direct, SPECS["short past"], loss="vmse", increment=increment)
    x, y, condition = data(SPECS["short past"])
    y[..., 1] *= 30
    error = processor.sample(x, condition, noise()) - y
    expected = (error.square() / (y.var(dim=(2, 3), keepdim=True) + 1e-7)).mean()
    torch.testing.assert_close(processor.loss(x, y, condition, noise()), expected)


def test_members_share_the_noise_on_their_past():
    processor = make(Ensemble, n_members_train=3, condition_noise=0.5)
    x, y, condition = data()
    processor.loss(x, y, condition, noise())
    processor.eval().loss(x, y, condition, noise())
    training, validation = (seen.unflatten(0, (N_ROWS, 3)) for seen in processor.backbone.seen)
    assert torch.equal(training[:, 0], training[:, 2])
    added = (training - validation)[:, :, :6]
    assert float(added.std().detach()) == pytest.approx(0.5, rel=0.1)
    assert torch.equal(training[:, :, 6:], validation[:, :, 6:])


def test_fields_of_noise_are_of_each_member():
    processor = make(Ensemble, noise_features=0, noise_channels=2, n_members_train=3)
    x, y, condition = data()
    processor.loss(x, y, condition, noise())
    fields = processor.backbone.seen[0][:, -2:]
    assert fields.shape == (3 * N_ROWS, 2, *GRID)
    assert fields.unique().numel() == fields.numel()
    one, other = (processor.sample(x, condition, Noise([(seed, r) for r in range(N_ROWS)])) for seed in range(2))
    assert not torch.equal(one, other)


def test_outputs_that_are_no_whole_windows_are_refused():
    x, y, condition = data(SPECS["short past"], n_windows=2)
    with pytest.raises(ValueError, match="y has 5 steps; this processor takes multiples of 3"):
        make(Direct, SPECS["short past"]).loss(x, y[:, :5], condition, noise())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (functools.partial(Direct, loss="mxe"), "processor.loss=mxe: unknown. Choose one of mse, mae, vmse"),
        (functools.partial(Direct, condition_noise=-1.0), "processor.condition_noise=-1"),
        (functools.partial(Ensemble, n_members_train=1), "processor.n_members_train=1"),
        (functools.partial(Ensemble, noise_features=0), "processor.noise_features=0, noise_channels=0"),
        (functools.partial(Ensemble, members_per_call=0), "processor.members_per_call=0: must be at least 1, or null"),
        (functools.partial(Ensemble, alpha=1.1), "processor.alpha=1.1: must be between 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build(spec=STEPS, backbone=Linear)
