import torch

from autocast.generative.noise import Noise
from autocast.generative.paths import linear_path
from autocast.generative.priors import LogitNormal, LogLogit, LogNormal, Uniform


def test_the_linear_path_joins_noise_and_data():
    x_0, x_1 = torch.randn(3, 2, 8), torch.randn(3, 2, 8)
    t = torch.tensor([0.0, 1.0, 0.25])
    x_t, velocity = linear_path(x_0, x_1, t)
    torch.testing.assert_close(x_t, torch.stack([x_0[0], x_1[1], 0.75 * x_0[2] + 0.25 * x_1[2]]))
    torch.testing.assert_close(velocity, x_1 - x_0)


def test_time_priors_have_their_quantiles():
    noise, like = Noise([(0, i) for i in range(4000)]), torch.zeros(1)
    probabilities = torch.tensor([0.1, 0.5, 0.9])
    uniform = Uniform()(noise, like).quantile(probabilities)
    torch.testing.assert_close(uniform, probabilities, atol=0.03, rtol=0)
    logit_normal = LogitNormal(mean=0.5, std=0.5)(noise, like).quantile(probabilities)
    expected = (0.5 + 0.5 * torch.special.ndtri(probabilities)).sigmoid()
    torch.testing.assert_close(logit_normal, expected, atol=0.03, rtol=0)


def test_priors_over_the_level_of_noise_have_their_quantiles():
    noise, like = Noise([(0, i) for i in range(4000)]), torch.zeros(1)
    probabilities = torch.tensor([0.1, 0.5, 0.9])

    def log_sigma(prior):
        t = prior(noise, like)
        return (1 / t - 1).log().quantile(probabilities)

    normal = -1.2 + 0.8 * torch.special.ndtri(probabilities)
    torch.testing.assert_close(log_sigma(LogNormal(mean=-1.2, std=0.8)), normal, atol=0.1, rtol=0)
    logistic = 0.5 + 2.0 * probabilities.logit()
    torch.testing.assert_close(log_sigma(LogLogit(mean=0.5, spread=2.0)), logistic, atol=0.3, rtol=0)


def test_priors_draw_for_each_row_by_itself():
    like = torch.zeros(1)
    for prior in (Uniform(), LogitNormal(), LogNormal(), LogLogit()):
        together = prior(Noise([(0, i) for i in range(5)]), like)
        assert torch.equal(together[2:3], prior(Noise([(0, 2)]), like))


def test_priors_stay_within_the_path():
    class Edge(Noise):
        def uniform(self, *shape, like):
            return torch.zeros(len(self), *shape)

    for prior in (Uniform(), LogLogit(spread=3.0)):
        t = prior(Edge([(0, 0)]), torch.zeros(1))
        assert 0 <= t <= 1
