"""Training of variational autoencoders in loops of one's own, and in Lightning's."""

import json
import math

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autocast.errors import ConfigError
from autocast.training import VAETrainer, VAETrainingConfig


class VAE(nn.Module):
    """Vectors of 8 numbers through 2."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(8, 4), nn.Linear(2, 8)

    def forward(self, x):
        mean, logvar = self.down(x).chunk(2, dim=1)
        z = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
        return self.up(z).sigmoid(), mean, logvar


class Fixed(nn.Module):
    """Gives what it was given."""

    def __init__(self, *given):
        super().__init__()
        self.given = given

    def forward(self, x):
        return self.given


class LitVAE(L.LightningModule):
    """What a user with a Lightning module of their own writes."""

    def __init__(self, model, config):
        super().__init__()
        self.model = model
        self.vae = VAETrainer(model, None, config)
        self.losses = []

    def training_step(self, batch, batch_idx):
        loss, _ = self.vae.create_loss_fn(step=self.global_step)(self.model, batch)
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch, batch_idx):
        loss, _ = self.vae.create_loss_fn(step=10**9)(self.model, batch)
        self.log("val_loss", loss)

    def configure_optimizers(self):
        return torch.optim.Adam(self.model.parameters(), lr=1e-2)


CONFIG = VAETrainingConfig(kl_annealing="linear", kl_warmup_steps=20, beta=0.5, free_bits=0.1)


def data(n=64):
    return TensorDataset(torch.rand(n, 8, generator=torch.Generator().manual_seed(0)))


def test_the_loop_and_lightning_take_the_same_steps(tmp_path):
    loader = DataLoader(data(), batch_size=16)
    torch.manual_seed(1)
    model = VAE()
    start = model.state_dict()
    start = {name: value.clone() for name, value in start.items()}
    trainer = VAETrainer(model, torch.optim.Adam(model.parameters(), lr=1e-2), CONFIG)
    torch.manual_seed(2)
    losses, step = [], 0
    for _ in range(3):
        for batch in loader:
            losses.append(float(trainer.train_step(batch, step=step)[0]))
            step += 1
    lit = LitVAE(VAE(), CONFIG)
    lit.model.load_state_dict(start)
    torch.manual_seed(2)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    L.Trainer(max_epochs=3, enable_checkpointing=False, default_root_dir=tmp_path, **quiet).fit(lit, loader)
    assert lit.losses == pytest.approx(losses, rel=1e-6)
    assert len(set(losses)) == 12


def test_lightnings_callbacks_watch_val_loss(tmp_path):
    lit, loader = LitVAE(VAE(), CONFIG), DataLoader(data(), batch_size=16)
    callbacks = [
        EarlyStopping(monitor="val_loss", patience=2, min_delta=1e9),
        ModelCheckpoint(dirpath=tmp_path, monitor="val_loss"),
    ]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = L.Trainer(max_epochs=9, callbacks=callbacks, default_root_dir=tmp_path, **quiet)
    trainer.fit(lit, loader, loader)
    assert trainer.current_epoch == 3
    assert callbacks[1].best_model_path


def test_a_step_lowers_the_loss_and_tells_what_it_is_made_of():
    torch.manual_seed(0)
    model = VAE()
    trainer = VAETrainer(model, torch.optim.Adam(model.parameters(), lr=1e-2))
    x = data().tensors[0]
    first, metrics = trainer.train_step(x, step=0)
    assert set(metrics) == {"loss", "recon_loss", "kl_loss", "kl_weight"}
    assert float(metrics["kl_weight"]) == 0
    assert float(metrics["kl_loss"]) > 0
    for step in range(1, 60):
        last, metrics = trainer.train_step((x, torch.zeros(64)), step=step)
    assert float(last) < float(first)
    total = metrics["recon_loss"] + metrics["kl_weight"] * metrics["kl_loss"]
    assert float(metrics["loss"]) == pytest.approx(float(total), rel=1e-6)
    assert not metrics["loss"].requires_grad
    assert json.dumps({name: float(value) for name, value in metrics.items()})


@pytest.mark.parametrize(("loss_type", "value"), [("mse", 0.1125), ("mae", 0.55), ("bce", 1.7147984280919266)])
def test_losses_of_given_figures(loss_type, value):
    x, r = torch.tensor([[1, 0, 0.5, 0.25]]), torch.tensor([[0.9, 0.2, 0.5, 0.5]])
    mean, logvar = torch.tensor([[1.0, -2.0]]), torch.tensor([[math.log(4), -1.0]])
    config = VAETrainingConfig(kl_annealing="none", beta=2.0)
    _, metrics = VAETrainer(nn.Identity(), None, config).create_loss_fn(step=0, loss_type=loss_type)(
        Fixed(r, mean, logvar), x
    )
    kl = float((-0.5 * (1 + logvar - mean.square() - logvar.exp())).sum())
    assert float(metrics["recon_loss"]) == pytest.approx(value, rel=1e-6)
    assert float(metrics["kl_loss"]) == pytest.approx(kl, rel=1e-6)
    assert float(metrics["loss"]) == pytest.approx(value + 2 * kl, rel=1e-6)


def test_images_are_summed_per_sample():
    x, r = torch.zeros(3, 1, 4, 4), torch.full((3, 1, 4, 4), 0.5)
    model = Fixed(r, torch.zeros(3, 2, 2, 2), torch.zeros(3, 2, 2, 2))
    loss, metrics = VAETrainer(model, None, VAETrainingConfig(free_bits=0.25)).create_loss_fn(step=0)(model, x)
    assert float(loss) == pytest.approx(16 * 0.25)
    assert float(metrics["kl_loss"]) == pytest.approx(8 * 0.25)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kl_annealing": "quadratic"}, "none, linear, sigmoid, cyclical"),
        ({"kl_annealing": "cyclical", "cyclical_period": 1}, "never leaves 0"),
        ({"beta": -1.0}, "beta=-1.0"),
        ({"free_bits": -0.5}, "free_bits=-0.5"),
        ({"free_bits_mode": "sometimes"}, "elementwise or batch_mean"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        VAETrainingConfig(**settings)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ConfigError, match="there are mse, mae, bce"):
        VAETrainer(VAE(), None).create_loss_fn(step=0, loss_type="rmse")
