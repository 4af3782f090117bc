"""How long trainings took."""

from __future__ import annotations

import json
from pathlib import Path

from autocast.runs.directory import RunDirectory
from autocast.runs.identity import write_json
from autocast.runs.spent import training_seconds


def trained(run: RunDirectory, kind: str, *seconds: float) -> None:
    file = run.metrics_file(kind)
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps({"seconds": s}) + "\n" for s in seconds) + '{"seconds": 99')


def test_all_epochs_count_and_so_does_the_autoencoder(tmp_path: Path):
    run, other = RunDirectory(tmp_path / "a"), RunDirectory(tmp_path / "b")
    parents = [{"role": "autoencoder_checkpoint", "run": str(other.path)}, {"role": "init_from", "run": str(run.path)}]
    write_json(run.run_file("epd", "train"), {"parents": parents})
    assert training_seconds(run, "epd") == {}
    trained(run, "epd", 1.5, 2.0)
    trained(other, "ae", 4.0)
    assert training_seconds(run, "epd") == {"epd": 3.5, "ae": 4.0}
