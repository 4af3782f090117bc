"""Two processes that each hold a part of the weights train as one does, and go on in any number."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from autocast.errors import ConfigError
from autocast.training.checkpoints import CheckpointSettings, damage_of, newest_valid

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).with_name("shards.py")
MODELS = ("direct", "ensemble", "flow_matching")
LAST, SECOND = "epd/checkpoints/last.ckpt", "epd/checkpoints/epoch-0002.ckpt"


@pytest.fixture(scope="module")
def averaged(ranks, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, with averages."""
    directory = tmp_path_factory.mktemp("averaged")
    ranks.train("direct", data, directory, n_ranks=1, checkpoint=CheckpointSettings(every_n_epochs=1))
    return directory


@pytest.fixture(scope="module")
def runs(data: Path, averaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of two processes."""
    directory = tmp_path_factory.mktemp("runs")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, PROGRAM, data, averaged, directory], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return directory


@pytest.fixture(scope="module")
def alone(ranks, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same trainings in one process, without averages."""
    directory = tmp_path_factory.mktemp("alone")
    for name in MODELS:
        (directory / name).mkdir()
        ranks.train(name, data, directory / name, n_ranks=1, averages=False)
    return directory


def records(run_dir: Path) -> list[dict[str, float]]:
    lines = (run_dir / "epd/metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def assert_same_curves(found: Path, expected: Path) -> None:
    for a, b in zip(records(found), records(expected), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def load(file: Path):
    return torch.load(file, weights_only=True)


def plain(groups: list) -> list:
    """Lists for tuples, which torch makes of them where it restores a sharded optimiser."""
    return json.loads(json.dumps(groups))


def assert_close(found: dict, expected: dict) -> None:
    """Weights, and what the optimiser keeps of each."""
    assert list(found["state_dict"]) == list(expected["state_dict"])
    (a,), (b,) = found["optimizer_states"], expected["optimizer_states"]
    assert plain(a["param_groups"]) == plain(b["param_groups"])
    assert a["state"].keys() == b["state"].keys()
    pairs = [(found["state_dict"][name], expected["state_dict"][name]) for name in expected["state_dict"]]
    pairs += [(a["state"][i][name], b["state"][i][name]) for i in b["state"] for name in b["state"][i]]
    for x, y in pairs:
        assert (x.float() - y.float()).norm() <= 1e-3 * y.float().norm()


def assert_equal(found: Path, expected: Path) -> None:
    a, b = (load(file)["state_dict"] for file in (found, expected))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in b)


@pytest.mark.parametrize("name", MODELS)
def test_curves_and_checkpoints_are_those_of_one_process(runs, alone, name):
    assert_same_curves(runs / name, alone / name)
    assert_close(load(runs / name / LAST), load(alone / name / LAST))
    assert_equal(runs / name / "epd.ckpt", runs / name / LAST)


@pytest.mark.parametrize("name", MODELS)
def test_each_process_has_a_part_of_every_weight(runs, name):
    first, second = (json.loads((runs / name / f"parts-{rank}.json").read_text()) for rank in range(2))
    assert first.keys() == second.keys()
    for weight, (n_here, n_all) in first.items():
        assert n_here + second[weight][0] == n_all, weight
    assert sum(n_here for n_here, _ in first.values()) < 0.6 * sum(n_all for _, n_all in first.values())


def test_it_says_that_there_are_no_averages(runs):
    kinds = [json.loads((runs / "direct" / f"events-{rank}.json").read_text()) for rank in range(2)]
    (note,) = [fields["text"] for kind, fields in kinds[0] if kind == "note"]
    assert "no averaged weights (callbacks.ema)" in note
    assert kinds[1] == []
    assert "averaging_state" not in load(runs / "direct" / LAST)


def test_all_processes_draw_and_the_first_ones_pictures_are_kept(runs):
    forecasts = [torch.load(file, weights_only=True) for file in sorted(runs.glob("*/epd/samples/forecast.pt"))]
    assert len(forecasts) == len(MODELS) + 1  # those resumed after the second epoch draw none
    assert all(x.shape == (1, x.shape[1], 4, 8, 12, 2) and x.isfinite().all() for x in forecasts)


def test_autoencoders_are_trained_and_drawn_in_parts(ranks, data, runs, tmp_path):
    ranks.train("ae", data, tmp_path, n_ranks=1, averages=False)
    assert_same_curves(runs / "ae", tmp_path)
    drawn = torch.load(runs / "ae/epd/samples/coded.pt", weights_only=True)
    assert torch.allclose(drawn["reconstructed"], drawn["decoded"], atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_one_process_goes_on_where_two_were(ranks, data, runs, alone, tmp_path, name):
    ranks.train(name, data, tmp_path, n_ranks=1, averages=False, resume_from=runs / name / SECOND)
    assert_same_curves(tmp_path, alone / name)
    assert_close(load(tmp_path / LAST), load(alone / name / LAST))


def test_two_processes_go_on_where_two_were(runs):
    assert_equal(runs / "resumed" / LAST, runs / "direct" / LAST)


def test_two_processes_go_on_where_one_was_with_its_weights_not_their_average(runs, averaged):
    expected = load(averaged / LAST)
    expected["state_dict"] = expected["current_model_state"]
    assert_close(load(runs / "joined" / LAST), expected)


def test_directories_are_continued_by_two_to_the_last_bit(runs):
    """Within an epoch. The main file is one file nevertheless."""
    assert [(runs / "stopped" / f"stopped-{rank}").read_text() for rank in range(2)] == ["SIGUSR2 1 9"] * 2
    assert (runs / "stopped" / LAST).is_dir()
    assert_equal(runs / "stopped/epd.ckpt", runs / "ensemble/epd.ckpt")
    assert_close(load(runs / "stopped/epd.ckpt"), load(runs / "ensemble/epd.ckpt"))
    assert not [path for path in runs.rglob(".*") if path.name.endswith((".partial", ".old"))]


def test_directories_are_continued_by_one(ranks, data, runs, alone, tmp_path):
    ranks.train("ensemble", data, tmp_path, n_ranks=1, averages=False, resume_from=runs / "stopped/stopped.ckpt")
    assert (tmp_path / LAST).is_file()
    assert records(tmp_path)[-1] == pytest.approx(records(alone / "ensemble")[-1], rel=1e-4)
    assert_close(load(tmp_path / LAST), load(alone / "ensemble" / LAST))


@pytest.mark.parametrize("part", [".metadata", "meta.pt", "__1_0.distcp"])
@pytest.mark.parametrize("kept", [None, 0.5])
def test_a_directory_that_is_not_whole_is_passed_over(runs, tmp_path, part, kept):
    for name in ("last.ckpt", "previous.ckpt"):
        shutil.copytree(runs / "stopped/epd/checkpoints" / name, tmp_path / name)
    assert newest_valid(tmp_path) == tmp_path / "last.ckpt"
    file = tmp_path / "last.ckpt" / part
    whole = file.read_bytes()
    file.unlink()
    if kept:
        file.write_bytes(whole[: int(kept * len(whole))])
    assert damage_of(tmp_path / "last.ckpt")
    assert newest_valid(tmp_path) == tmp_path / "previous.ckpt"


def test_a_flipped_byte_of_a_directory_is_found(runs, tmp_path):
    shutil.copytree(runs / "stopped" / LAST, tmp_path / "last.ckpt")
    file = tmp_path / "last.ckpt/__0_0.distcp"
    content = bytearray(file.read_bytes())
    for i in range(0, len(content), 97):
        content[i] ^= 0xFF
    file.write_bytes(content)
    assert "damaged" in damage_of(tmp_path / "last.ckpt")


@pytest.mark.parametrize("name", ["unet", "vit", "windowed_vit", "fno", "convnext_unet"])
def test_every_backbone_has_the_gradients_of_a_whole_one(runs, name):
    n_parts, size, error = json.loads((runs / "gradients.json").read_text())[name]
    assert n_parts > 2
    assert error <= 1e-5 * size


def test_an_optimiser_of_whole_weights_is_refused_by_all(runs):
    first, second = ((runs / "refused" / f"refused-{rank}").read_text() for rank in range(2))
    assert first == second
    assert "optimizer=adamw" in first


def test_another_way_of_sharding_is_refused(ranks, data, tmp_path):
    from lightning.pytorch.strategies import ModelParallelStrategy

    with pytest.raises(ConfigError, match="trainer=sharded"):
        ranks.train("direct", data, tmp_path, n_ranks=1, trainer_options={"strategy": ModelParallelStrategy()})
