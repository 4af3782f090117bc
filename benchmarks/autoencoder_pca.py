"""Autoencoders against principal components of whole fields, at three latent sizes: simulated fields and real textures.

    python benchmarks/autoencoder_pca.py                   # half an hour on two idle cores
    python benchmarks/autoencoder_pca.py --directory DIR   # works there; what is finished there is not done again
    python benchmarks/autoencoder_pca.py --quick           # minutes: that it runs; nothing is written

Gray-Scott fields (64 x 64, two channels) of trajectories that training has not seen, and patches (64 x 64) of the three
photographs of textures that scikit-image has (pip install scikit-image): a part of each photograph is for the test
alone. Every variational autoencoder (`encoder=dc_f16` or `dc_f8`, `bottleneck=gaussian`, `objective=vae`) is trained by
`autocast ae` for a fixed number of steps, less than ten minutes on two idle cores. Principal components are fitted to
all training frames, and to as many again shifted and mirrored as the autoencoder sees them where that is better. The
plain autoencoder has strided convolutions only, as many parameters as the f16 one, and the same training.

PSNR is that of all test frames together, with the range of the test data, averaged over channels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

import autocast
from autocast.autoencoders.decoder import Decoder
from autocast.autoencoders.encoder import Encoder
from autocast.data.datamodule import FieldDataModule
from autocast.layout import frames_to_images, images_to_frames
from autocast.nn.compilation import Network
from autocast.nn.convolution import Convolution, resize
from autocast.types import FieldSpec

RESULT = Path(__file__).parent / "results" / "autoencoder_pca.json"
DATASETS = ("gray_scott", "textures")
TEXTURES = ("grass", "gravel", "brick")
SIZE = 64
SPLITS = {"train": (0, 320), "valid": (320, 384), "test": (384, 512)}
"""Columns of a photograph."""
N_PATCHES = {"train": 1500, "valid": 60, "test": 60}
"""Of each photograph, at random places."""
SMALLEST = 64
PLAIN = "plain f16"
COLOURS = {"autoencoder": "#0072B2", "pca": "#D55E00", PLAIN: "#009E73"}


@dataclass(frozen=True)
class Candidate:
    """An autoencoder and the words that make it."""

    n_latents: int
    words: str
    name: str = "autoencoder"


F16 = "model.encoder=dc_f16 model.encoder.widths=[24,48,96,192] model.encoder.blocks=[0,1,1,2]"
CANDIDATES = (
    Candidate(64, f"{F16} model.encoder.latent_channels=4 model.encoder.saturation=null"),
    Candidate(256, f"{F16} model.encoder.latent_channels=16 model.encoder.saturation=null"),
    Candidate(
        1024,
        "model.encoder=dc_f8 model.encoder.widths=[24,48,96] model.encoder.blocks=[0,1,2] "
        "model.encoder.latent_channels=16 model.encoder.saturation=null",
    ),
    Candidate(
        64,
        f"{F16} model.encoder._target_=autoencoder_pca.PlainEncoder ~model.encoder.blocks ~model.encoder.shortcut "
        "~model.encoder.saturation model.encoder.widths=[64,128,288,512] model.encoder.latent_channels=4",
        PLAIN,
    ),
)
TRAINING = (
    "model.bottleneck=gaussian model.objective=vae model.objective.weights.kl.weight=1e-3 datamodule.batch_size=16 "
    "optimizer.learning_rate=2e-3 callbacks.ema.decay=0.99 trainer.max_epochs=-1 gate=never"
)
SYMMETRY = (
    "{_target_: autocast.data.augmentations.RandomSymmetry, _partial_: true, roll: false, flip: true, transpose: true}"
)
"""Of textures; Gray-Scott fields have it in their config."""
STEPS, QUICK_STEPS = 1000, 20


class PlainEncoder(Encoder):
    """Strided convolutions with SiLU between them."""

    merges_frames: ClassVar[bool] = False

    def __init__(self, spec: FieldSpec, *, widths: Sequence[int], latent_channels: int) -> None:
        coarse = tuple(n // 2 ** len(widths) for n in spec.grid_shape)
        super().__init__(spec, n_channels=latent_channels, grid_shape=coarse)
        self.widths = tuple(widths)
        self.network = PlainDown(spec.n_channels, latent_channels, self.widths, spec.periodic)

    def encode(self, x: Tensor) -> Tensor:
        return images_to_frames(self.network(frames_to_images(x)), x.shape[1])

    def mirror(self) -> PlainDecoder:
        return PlainDecoder(self)


class PlainDecoder(Decoder):
    """The same convolutions in the opposite order, on grids whose points are repeated."""

    def __init__(self, encoder: PlainEncoder) -> None:
        super().__init__()
        self.network = PlainUp(encoder.n_channels, encoder.spec.n_channels, encoder.widths, encoder.periodic)

    def decode(self, z: Tensor) -> Tensor:
        return images_to_frames(self.network(frames_to_images(z)), z.shape[1])


class PlainDown(Network):
    def __init__(self, n_channels: int, n_latents: int, widths: Sequence[int], periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            Convolution(a, b, 3, periodic=periodic, stride=2) for a, b in pairwise([n_channels, *widths])
        )
        self.tail = Convolution(widths[-1], n_latents, 1, periodic=periodic)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = nn.functional.silu(convolution(x))
        return self.tail(x)


class PlainUp(Network):
    def __init__(self, n_latents: int, n_channels: int, widths: Sequence[int], periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.head = Convolution(n_latents, widths[-1], 1, periodic=periodic)
        self.convolutions = nn.ModuleList(
            Convolution(b, a, 3, periodic=periodic) for a, b in reversed([*pairwise([n_channels, *widths])])
        )

    def forward(self, z: Tensor) -> Tensor:
        x = self.head(z)
        for convolution in self.convolutions:
            x = convolution(resize(nn.functional.silu(x), tuple(2 * n for n in x.shape[2:])))
        return x


def write_textures(directory: Path, scale: float) -> None:
    """Patches as PNG files, a folder for each split."""
    import skimage.data

    photographs = {name: getattr(skimage.data, name)() for name in TEXTURES}
    rng = np.random.default_rng(0)
    for split, (first, last) in SPLITS.items():
        (directory / split).mkdir(parents=True)
        for name, photograph in photographs.items():
            strip = photograph[:, first:last]
            for i in range(max(int(N_PATCHES[split] * scale), 4)):
                x, y = (int(rng.integers(0, n - SIZE + 1)) for n in strip.shape)
                Image.fromarray(strip[x : x + SIZE, y : y + SIZE]).save(directory / split / f"{name}-{i:04}.png")


def frames(data: Path, split: str) -> Tensor:
    """`(N, *S, C)`"""
    trajectories = FieldDataModule(data, n_steps_output=0).split(split)
    whole = [trajectories.read(i, 0, trajectories.n_steps(i)) for i in range(trajectories.n_trajectories)]
    return torch.as_tensor(np.concatenate(whole))


def psnr(x: Tensor, reconstruction: Tensor) -> float:
    """Of frames `(N, *S, C)`, in decibels, averaged over channels."""
    axes = tuple(range(x.ndim - 1))
    error = (x.double() - reconstruction.double()).square().mean(axes)
    span = x.double().amax(axes) - x.double().amin(axes)
    return float((10 * torch.log10(span.square() / error)).mean())


class PrincipalComponents:
    """Of whole frames, each channel in units of its standard deviation."""

    def __init__(self, x: Tensor, n: int) -> None:
        axes = tuple(range(x.ndim - 1))
        self.std = x.std(axes)
        rows = (x / self.std).flatten(1)
        self.mean = rows.mean(0)
        centred = (rows - self.mean).double()
        gram = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
        values, vectors = torch.linalg.eigh(gram)
        top = vectors[:, -n:].flip(1)
        if len(rows) < rows.shape[1]:
            top = (centred.T @ top) / values[-n:].flip(0).clamp(min=1e-12).sqrt()
        self.components = top

    def reconstruct(self, x: Tensor, n: int) -> Tensor:
        rows = (x / self.std).flatten(1).double() - self.mean
        components = self.components[:, :n]
        return ((rows @ components) @ components.T + self.mean).reshape(x.shape).float() * self.std


def augmented(x: Tensor, periodic: bool) -> Tensor:
    """Frames and as many again, mirrored and, where axes are periodic, shifted, as in training."""
    rng = np.random.default_rng(1)
    changed = []
    for frame in x:
        moved = frame.roll(tuple(int(n) for n in rng.integers(0, SIZE, 2)), (0, 1)) if periodic else frame
        moved = moved.flip(0) if rng.integers(2) else moved
        moved = moved.flip(1) if rng.integers(2) else moved
        changed.append(moved.transpose(0, 1) if rng.integers(2) else moved)
    return torch.cat([x, torch.stack(changed)])


def train(directory: Path, dataset: str, candidate: Candidate, steps: int) -> dict[str, Any]:
    """The trained run's PSNR, parameters and seconds."""
    run = directory / f"{dataset}-{candidate.name.replace(' ', '-')}-{candidate.n_latents}"
    command = (
        f"ae --dataset {directory / dataset} --workdir {run} {candidate.words} {TRAINING} trainer.max_steps={steps}"
    )
    if dataset == "textures":
        command += f" 'datamodule.augment={SYMMETRY}'"
    program = str(Path(sys.executable).with_name("autocast"))
    environment = {**os.environ, "AUTOCAST_TARGETS": "autoencoder_pca", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [program, *shlex.split(command)], check=False, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"autocast {command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    epochs = [json.loads(line) for line in (run / "ae/metrics.jsonl").read_text().splitlines()]
    seconds = sum(epoch["seconds"] for epoch in epochs)
    model = autocast.load(str(run))
    x = frames(directory / dataset, "test")
    with torch.no_grad():
        reconstruction = torch.cat([model.reconstruct(part[None])[0] for part in x.split(64)])
    n_parameters = sum(p.numel() for p in model.autoencoder.parameters())
    told = {"psnr": round(psnr(x, reconstruction), 2), "parameters": n_parameters, "seconds": round(seconds)}
    print(json.dumps({"dataset": dataset, "name": candidate.name, "latents": candidate.n_latents, **told}), flush=True)
    return {**told, "command": f"autocast {command}".replace(f"{directory}/", ""), "shown": reconstruction[:3]}


def compare(directory: Path, dataset: str, steps: int) -> dict[str, Any]:
    x, test = (frames(directory / dataset, split) for split in ("train", "test"))
    most = max(candidate.n_latents for candidate in CANDIDATES)
    fits = {
        "frames": PrincipalComponents(x, most),
        "with symmetries": PrincipalComponents(augmented(x, dataset == "gray_scott"), most),
    }
    sizes = sorted({candidate.n_latents for candidate in CANDIDATES})
    pca = {name: {n: round(psnr(test, fit.reconstruct(test, n)), 2) for n in sizes} for name, fit in fits.items()}
    print(json.dumps({"dataset": dataset, "pca": pca}), flush=True)
    trained = {(c.name, c.n_latents): train(directory, dataset, c, steps) for c in CANDIDATES}
    best = {n: max(scores[n] for scores in pca.values()) for n in sizes}
    smallest = trained["autoencoder", SMALLEST]
    shown = {
        "truth": test[:3],
        f"PCA, {SMALLEST}": fits["with symmetries"].reconstruct(test[:3], SMALLEST),
        f"autoencoder, {SMALLEST}": smallest.pop("shown"),
    }
    for told in trained.values():
        told.pop("shown", None)
    return {
        "n_train": len(x),
        "n_test": len(test),
        "pca": pca,
        "autoencoder": {n: trained["autoencoder", n] for n in sizes},
        PLAIN: trained[PLAIN, SMALLEST],
        "above_pca": {n: round(trained["autoencoder", n]["psnr"] - best[n], 2) for n in sizes},
        "above_plain": round(smallest["psnr"] - trained[PLAIN, SMALLEST]["psnr"], 2),
        "shown": shown,
    }


def draw(found: dict[str, dict[str, Any]]) -> Figure:
    """PSNR by latent size, and what is left of three test frames at the smallest."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    grid = figure.subplots(2, 4, gridspec_kw={"width_ratios": [1.5, 1, 1, 1]})
    for row, (dataset, told) in zip(grid, found.items(), strict=True):
        axes = row[0]
        sizes = list(told["autoencoder"])
        axes.plot(
            sizes,
            [told["autoencoder"][n]["psnr"] for n in sizes],
            "o-",
            color=COLOURS["autoencoder"],
            label="autoencoder",
        )
        best = [max(scores[n] for scores in told["pca"].values()) for n in sizes]
        axes.plot(sizes, best, "s--", color=COLOURS["pca"], label="principal components")
        axes.plot([SMALLEST], [told[PLAIN]["psnr"]], "^", color=COLOURS[PLAIN], label="plain convolutions, f16")
        axes.set(xscale="log", xlabel="numbers of a latent", ylabel="PSNR / dB", title=dataset.replace("_", "-"))
        axes.set_xticks(sizes, [str(n) for n in sizes], minor=False)
        axes.minorticks_off()
        axes.legend(frameon=False)
        truth = told["shown"]["truth"][0, ..., -1]
        for place, (title, shown) in zip(row[1:], told["shown"].items(), strict=True):
            place.imshow(shown[0, ..., -1], vmin=float(truth.min()), vmax=float(truth.max()), cmap="cividis")
            place.set(title=title, xticks=[], yticks=[])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps and data; nothing is written")
    parser.add_argument("--directory", type=Path, help="where to work; by default a temporary one")
    given = parser.parse_args()
    with nullcontext(given.directory) if given.directory else tempfile.TemporaryDirectory() as folder:
        directory = Path(folder).absolute()
        program = str(Path(sys.executable).with_name("autocast"))
        n = {"train": 4, "valid": 2, "test": 2} if given.quick else {"train": 100, "valid": 6, "test": 12}
        splits = [f"splits.{split}={count}" for split, count in n.items()]
        simulate = [program, "data", "simulate", "--dataset", str(directory / "gray_scott"), "simulator=gray_scott"]
        if not (directory / "gray_scott").exists():
            subprocess.run([*simulate, *splits, "simulator.n_frames=24"], check=True, stdout=subprocess.DEVNULL)
        if not (directory / "textures").exists():
            write_textures(directory / "textures", 0.05 if given.quick else 1.0)
        steps = QUICK_STEPS if given.quick else STEPS
        found = {dataset: compare(directory, dataset, steps) for dataset in DATASETS}
    figure = draw(found)
    for told in found.values():
        del told["shown"]
    result = {
        "claim": "above principal components of whole fields at the smallest latent size, and above a plain "
        "convolutional autoencoder of as many parameters",
        "holds": all(told["above_pca"][SMALLEST] > 0 and told["above_plain"] > 0 for told in found.values()),
        "steps": steps,
        **found,
        "run": {
            "platform": platform.system(),
            "n_cpus": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "lightning", "numpy", "scikit-image")},
        },
    }
    print(json.dumps(result, indent=2))
    if not given.quick:
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
        figure.savefig(RESULT.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
