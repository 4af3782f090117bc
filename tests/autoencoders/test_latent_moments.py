import numpy as np
import pytest
import torch

from autocast.autoencoders.latent_moments import LatentMoments, LatentStatistics

N_CHANNELS = 3


def statistics_of(z: torch.Tensor, cuts: tuple[int, ...] = (), bound: float | None = None) -> LatentStatistics:
    """Of `(B, T, *S, C)`, given in pieces cut along time."""
    moments = LatentMoments(z.shape[-1], bound=bound)
    for i, piece in enumerate(z.tensor_split(cuts, dim=1)):
        moments.add(piece, continues=i > 0)
    return moments.statistics()


def latents(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("cuts", [(), (1,), (2, 3)])
def test_pieces_give_what_the_whole_does(cuts):
    z = 2 * latents(2, 5, 4, 6, N_CHANNELS) + torch.tensor([100.0, 0.0, -3.0])
    found, values = statistics_of(z, cuts), z.reshape(-1, N_CHANNELS).numpy()
    np.testing.assert_allclose(found.mean, values.mean(0))
    np.testing.assert_allclose(found.std, values.std(0))
    np.testing.assert_allclose((found.minimum, found.maximum), (values.min(0), values.max(0)))
    np.testing.assert_allclose(found.rms_increment, z.diff(dim=1).square().mean((0, 1, 2, 3)).sqrt().numpy())
    covariance = np.cov(values.T, bias=True)
    np.testing.assert_allclose(found.spectrum, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-6)
    assert found.n_frames == 10


def test_frames_of_another_trajectory_are_no_change():
    z = latents(1, 4, 8, N_CHANNELS)
    moments = LatentMoments(N_CHANNELS)
    for frame in z.split(1, dim=1):
        moments.add(frame)
    assert np.isnan(moments.statistics().rms_increment).all()


def test_the_participation_ratio_counts_free_channels():
    one = latents(64, 1, 64, 1)
    same = statistics_of(one.repeat(1, 1, 1, 4))
    assert same.participation_ratio == pytest.approx(1)
    assert same.n_active == 4
    assert statistics_of(latents(64, 1, 64, 4)).participation_ratio == pytest.approx(4, rel=0.01)


def test_channels_that_hardly_vary_are_not_active():
    z = latents(8, 1, 64, 4) * torch.tensor([1.0, 0.02, 0.005, 0.0]) + 7
    found = statistics_of(z)
    assert found.active.tolist() == [True, True, False, False]
    assert (found.n_active, found.n_channels) == (2, 4)
    nothing = statistics_of(torch.ones(1, 2, 3, 4))
    assert (nothing.n_active, nothing.participation_ratio) == (0, 0.0)


def test_values_near_the_bound_are_counted():
    z = torch.tensor([[0.0, 4.6], [-4.6, 4.9], [1.0, -4.8], [0.0, 4.4]]).reshape(1, 1, 4, 2)
    assert statistics_of(z, bound=5.0).saturated.tolist() == [0.25, 0.75]
    assert statistics_of(z).saturated.tolist() == [0.0, 0.0]


def test_plain_values_come_back():
    for z in (latents(2, 3, 4, N_CHANNELS), latents(2, 1, 4, N_CHANNELS)):
        found = statistics_of(z)
        again = LatentStatistics.from_dict({**found.to_dict(), "other": 1})
        for name, value in vars(found).items():
            np.testing.assert_array_equal(getattr(again, name), value)
    assert found.to_dict()["rms_increment"] == [None] * N_CHANNELS
