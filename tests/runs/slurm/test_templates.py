"""The plain scripts: what they run, with every word that a user would have to get right."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

STUB = '#!/bin/bash\nprintf "%s" "${0##*/}"\nprintf " %s" "$@"\necho\nexit "${CODE:-0}"\n'
SWEEP = "encoder-processor-decoder-parameter_sweep.sh"


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """Console scripts that only say how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("train_encoder_processor_decoder", "evaluate_encoder_processor_decoder"):
        (folder / name).write_text(STUB)
        (folder / name).chmod(0o755)
    return folder


def run(root: Path, commands: Path, name: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", **variables}
    script = ["bash", str(root / "slurm_templates" / name), *words]
    return subprocess.run(script, env=environ, capture_output=True, text=True, check=False)


def test_each_task_of_the_sweep_trains_another_combination_elsewhere(root, commands):
    text = (root / "slurm_templates" / SWEEP).read_text()
    first, last = map(int, re.search(r"--array=(\d+)-(\d+)", text).groups())
    variables = [{"SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": str(n)} for n in range(first, last + 1)]
    said = [run(root, commands, SWEEP, "trainer.max_epochs=1", **values).stdout for values in variables]
    assert len(set(said)) == last + 1
    places = {re.search(r"hydra.run.dir=(\S+)", line)[1] for line in said}
    assert len(places) == last + 1
    assert all(re.fullmatch(r"outputs/epd-sweep_6/[\w.-]+", place) for place in places)
    assert all(line.rstrip().endswith("trainer.max_epochs=1") for line in said)


def test_a_task_without_a_combination_is_refused(root, commands):
    ended = run(root, commands, SWEEP, SLURM_ARRAY_JOB_ID="6", SLURM_ARRAY_TASK_ID="4")
    assert ended.returncode == 2
    assert "--array=0-3" in ended.stderr


def test_the_sweep_says_how_it_is_started(root, commands):
    ended = run(root, commands, SWEEP)
    assert ended.returncode != 0
    assert "sbatch" in ended.stderr


def test_what_was_trained_is_evaluated(root, commands):
    train, evaluate = run(root, commands, "train-eval.sh", "trainer.max_epochs=1").stdout.splitlines()
    assert train.endswith("hydra.run.dir=outputs/train-eval_7 trainer.max_epochs=1")
    assert "eval.checkpoint=outputs/train-eval_7/encoder_processor_decoder.ckpt" in evaluate


def test_what_failed_is_not_evaluated(root, commands):
    ended = run(root, commands, "train-eval.sh", CODE="75")
    assert ended.returncode == 75
    assert "evaluate" not in ended.stdout
