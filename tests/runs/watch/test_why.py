"""What a stage's end is put down to, on which evidence, and what is offered to type."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from autocast.cli.main import COMMANDS, load
from autocast.runs.compose import compose
from autocast.runs.request import Request
from autocast.runs.watch import why
from autocast.runs.watch.causes import CAUSES
from autocast.runs.watch.failures import Failure, last_traceback
from autocast.runs.watch.remedies import ADVICE
from autocast.runs.watch.stages import Stage

LAUNCHED = ("launched", {"action": "start", "uid": "cafe0001", "argv": []})
SUBMITTED = ("submitted", {"job_id": "12", "comment": "c", "dependency": [], "time_limit": 3600, "max_attempts": 6})
STARTED = ("started", {"attempt": 1, "job_id": "12", "host": "gpu-n14", "pid": 1, "process_start": "0"})
SENT = (LAUNCHED, SUBMITTED)
RAN = (*SENT, STARTED, ("epoch", {"epoch": 2, "step": 212, "seconds": 9.0}))
OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 39.39 GiB of which 0.4 GiB is free."
)
TRACEBACK = """Traceback (most recent call last):
  File "/home/ada/autocast/autocast/training/fit.py", line 12, in fit
    trainer.fit()
  File "/home/ada/autocast/autocast/nn/attention.py", line 88, in forward
    return q @ k
  File "/home/ada/autocast/.venv/lib/python3.12/site-packages/torch/nn/functional.py", line 5, in softmax
    raise
torch.OutOfMemoryError: CUDA out of memory
"""


def failed(error: str, message: str, rank: int = 0, traceback: str = TRACEBACK) -> tuple[str, dict[str, Any]]:
    return ("failed", {"error": error, "message": message, "traceback": traceback, "code": 1, "rank": rank})


def stopped(reason: str) -> tuple[str, dict[str, Any]]:
    return ("stopped", {"reason": reason, "step": 212, "epoch": 2, "code": 75})


ENDED = ("ended", {"job_id": "12"})
Explained = Callable[..., dict[str, Any]]


@pytest.fixture
def explained(
    job: Callable[..., Any],
    scheduler_with: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Explained:
    """The document about a stage, where Slurm says this of its job and these are its error logs, by rank."""

    def explain(stage: Stage, slurm: tuple[str, dict[str, Any]] | None = None, *logs: str) -> dict[str, Any]:
        folder = stage.directory.logs_dir(stage.kind)
        folder.mkdir(parents=True, exist_ok=True)
        for rank, text in enumerate(logs):
            (folder / f"12_{rank}_log.err").write_text(text)
        jobs = [job("12", slurm[0], **slurm[1])] if slurm else []
        monkeypatch.setattr("autocast.runs.slurm.queue.Scheduler", lambda: scheduler_with(*jobs))
        base = stage.directory.path.parents[1]
        assert why.show("rd/00", kind=None, stage=None, json=True, output_base=base) == 0
        return json.loads(capsys.readouterr().out)

    return explain


@pytest.mark.parametrize(
    ("cause", "events", "slurm", "log"),
    [
        ("CUDA out of memory", (*RAN, failed("OutOfMemoryError", OUT_OF_MEMORY)), None, ""),
        ("out of memory", RAN, ("OUT_OF_MEMORY", {}), ""),
        ("out of memory", RAN, ("FAILED", {"exit_code": 137}), "slurmstepd: error: Detected 1 oom_kill event"),
        ("out of memory", (*RAN, failed("MemoryError", "")), None, ""),
        ("killed", RAN, ("FAILED", {"exit_code": 137}), ""),
        ("killed", RAN, ("FAILED", {"signal": 9, "exit_code": 0}), ""),
        ("time limit", RAN, ("TIMEOUT", {}), ""),
        ("time limit", (*RAN, stopped("SIGUSR2"), ENDED), None, ""),
        ("time limit", RAN, None, "slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2026 DUE TO TIME LIMIT ***"),
        ("preempted", RAN, ("PREEMPTED", {}), ""),
        ("stopped", (*RAN, stopped("SIGTERM"), ENDED), None, ""),
        ("cancelled", (*RAN, ("cancelled", {"job_id": "12", "by": "ada"})), None, ""),
        ("cancelled", RAN, ("CANCELLED", {}), ""),
        ("cancelled by Slurm", RAN, None, "slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2026-01-01T00 ***"),
        ("node failure", RAN, ("NODE_FAIL", {"nodes": "n1"}), ""),
        ("launch failure", SENT, ("FAILED", {"signal": 53, "exit_code": 0}), ""),
        ("upstream incomplete", (*RAN, ("upstream_incomplete", {"message": "no marker", "code": 78})), None, ""),
        ("upstream incomplete", SENT, ("FAILED", {"exit_code": 78}), ""),
        ("stuck", (*RAN, ("stuck", {"message": "2 attempts", "code": 1})), None, ""),
        ("diverged", (*RAN, failed("DivergenceError", "training diverged: train/loss")), None, ""),
        ("environment", (*RAN, failed("ModuleNotFoundError", "No module named 'lightning'")), None, ""),
        ("environment", SENT, ("FAILED", {"exit_code": 1}), "slurm_script: line 12: module: command not found"),
        ("disk full", (*RAN, failed("OSError", "[Errno 28] No space left on device")), None, ""),
        ("disk full", (*RAN, failed("OSError", "[Errno 122] Disk quota exceeded")), None, ""),
        ("exception", (*RAN, failed("ValueError", "no")), None, ""),
        (
            "exception",
            RAN,
            ("FAILED", {"exit_code": 1}),
            TRACEBACK.replace("torch.OutOfMemoryError: CUDA", "KeyError:"),
        ),
        ("lost", RAN, None, ""),
        ("lost", RAN, ("COMPLETED", {}), ""),
        ("unexplained", RAN, ("FAILED", {"exit_code": 3}), ""),
        ("pending", SENT, ("PENDING", {"reason": "Priority"}), ""),
        ("running", RAN, ("RUNNING", {}), ""),
        ("not started", (LAUNCHED,), None, ""),
        ("aborted", (*SENT, ("aborted", {"message": "m", "code": 5})), None, ""),
        ("interrupted", (*RAN, ("interrupted", {"code": 130})), None, ""),
    ],
)
def test_causes(
    cause: str,
    events: tuple,
    slurm: tuple[str, dict[str, Any]] | None,
    log: str,
    stage_with: Callable[..., Stage],
    explained: Explained,
):
    found = explained(stage_with(*events), slurm, log)
    assert found["cause"] == cause
    assert found["text"]


def test_every_cause_has_advice():
    assert set(ADVICE) == {*CAUSES, "unexplained"}


@pytest.mark.parametrize(
    ("event", "commands"),
    [
        (
            failed("OutOfMemoryError", OUT_OF_MEMORY),
            ["autocast resume RUN trainer.micro_batch=16"],
        ),
        (
            failed("MemoryError", ""),
            ["autocast resume RUN cluster.memory=128G", "autocast resume RUN datamodule.memory_limit=1"],
        ),
        (failed("DivergenceError", "d"), ["autocast resume RUN trainer.gradient_clip_val=0.5"]),
        (
            ("stuck", {"message": "m", "code": 1}),
            ["autocast logs RUN --err", "autocast resume RUN cluster.time=120 checkpoint.every_n_minutes=2"],
        ),
        (failed("ValueError", "no"), ["autocast resume RUN"]),
    ],
)
def test_what_to_type(
    event: tuple[str, dict[str, Any]], commands: list[str], stage_with: Callable[..., Stage], explained: Explained
):
    stage = stage_with(*RAN, event)
    found = explained(stage)["commands"]
    assert found == [command.replace("RUN", str(stage.directory.path)) for command in commands]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (failed("OutOfMemoryError", OUT_OF_MEMORY), " batch_size=32"),
        (failed("MemoryError", ""), " cluster.memory=128G"),
        (stopped("SIGUSR2"), ""),
    ],
)
def test_what_to_type_about_a_cache(
    event: tuple[str, dict[str, Any]], words: str, stage_with: Callable[..., Stage], explained: Explained
):
    stage = stage_with(*SENT, STARTED, event, *([ENDED] if event[0] == "stopped" else []), kind="ae", stage="latents-1")
    assert explained(stage)["commands"][0] == f"autocast resume {stage.directory.path}{words}"


def test_what_is_offered_can_be_parsed(stage_with: Callable[..., Stage], explained: Explained):
    for n, event in enumerate([failed("OutOfMemoryError", OUT_OF_MEMORY), failed("ImportError", "x"), ENDED]):
        for line in explained(stage_with(*RAN[:-n] if n else RAN, event))["commands"]:
            _, name, *rest = shlex.split(line)
            assert name in COMMANDS
            load(name).make_context(name, rest)


def test_the_first_rank_that_failed_counts(stage_with: Callable[..., Stage], explained: Explained):
    lost = failed("RuntimeError", "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]", rank=0)
    found = explained(stage_with(*RAN, lost, failed("ValueError", "bad sample", rank=1)), None, "a", "b")
    assert (found["cause"], found["rank"], found["message"]) == ("exception", 1, "bad sample")
    assert found["log"].endswith("12_1_log.err")


def test_logs_tell_where_the_journal_does_not(stage_with: Callable[..., Stage], explained: Explained):
    peer = 'Traceback (most recent call last):\n  File "a.py", line 1, in b\nRuntimeError: Connection reset by peer\n'
    mine = "Traceback (most recent call last):\n  File \"a.py\", line 1, in b\nKeyError: 'u'\nsrun: error: n1\n"
    found = explained(stage_with(*RAN), ("FAILED", {"exit_code": 1}), peer, mine)
    assert (found["cause"], found["rank"], found["error"], found["message"]) == ("exception", 1, "KeyError", "'u'")


def test_an_earlier_attempt_is_not_blamed(stage_with: Callable[..., Stage], explained: Explained):
    old = "slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2026 DUE TO PREEMPTION ***\n"
    header = "=== autocast epd train attempt 2 job 12 rank 0 host n1 2026-01-01T00:00:00+0000 ===\n"
    found = explained(stage_with(*RAN), ("FAILED", {"exit_code": 137}), f"{old}{header}")
    assert found["cause"] == "killed"


def test_what_went_wrong_by_itself_is_explained_first(
    stage_with: Callable[..., Stage], capsys: pytest.CaptureFixture[str]
):
    stage = stage_with(*RAN, failed("OutOfMemoryError", OUT_OF_MEMORY))
    stage_with(LAUNCHED, ("cancelled", {"job_id": "13", "by": ""}), stage="eval")
    assert why.show("rd/00", kind=None, stage=None, json=False, output_base=stage.directory.path.parents[1]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "rd/00 epd train failed 1 min ago on gpu-n14 (job 12): CUDA out of memory at batch 32; the allocation that "
        "failed was 1.50 GiB in forward (autocast/nn/attention.py:88); the GPU has 39.39 GiB, after step 212"
    )
    assert lines[1].startswith(f"  try    autocast resume {stage.directory.path} trainer.micro_batch=16")
    assert lines[2] == "  also   epd eval is cancelled"


def test_an_exception_is_shown_with_its_traceback_and_its_log(
    stage_with: Callable[..., Stage], capsys: pytest.CaptureFixture[str]
):
    stage = stage_with(*RAN, failed("ValueError", "no"))
    log = stage.directory.logs_dir("epd") / "12_0_log.err"
    log.parent.mkdir(parents=True)
    log.write_text("...")
    why.show("rd/00", kind=None, stage="train", json=False, output_base=stage.directory.path.parents[1])
    out = capsys.readouterr().out
    assert 'said   Traceback (most recent call last):\n           File "/home/ada' in out
    assert f"log    autocast logs {stage.directory.path} --kind epd --stage train --err   {log}" in out


def test_the_last_traceback_ends_with_its_exception():
    text = f"{TRACEBACK}\nDuring handling, another:\n\n{TRACEBACK.replace('OutOf', 'Second')}srun: error: n1: task 0\n"
    assert last_traceback(text).endswith("torch.SecondMemoryError: CUDA out of memory\n")
    assert last_traceback("nothing") == ""


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("/home/ada/autocast/autocast/nn/a.py", "f (autocast/nn/a.py:3)"),
        ("/venv/lib/python3.12/site-packages/autocast/nn/a.py", "f (autocast/nn/a.py:3)"),
        ("/home/ada/autocast/.venv/lib/python3.12/site-packages/torch/a.py", ""),
    ],
)
def test_the_place_is_one_of_this_package(file: str, place: str):
    assert Failure("E", "", f'  File "{file}", line 3, in f\n', 0).place == place


def test_an_upstream_of_another_run_is_to_be_asked_first(
    stage_with: Callable[..., Stage], explained: Explained, tmp_path: Path
):
    stage = stage_with(*RAN, ("upstream_incomplete", {"message": "no marker", "code": 78}))
    parents = [{"role": "autoencoder", "run": str(tmp_path / "rd" / "ae")}]
    stage.directory.run_file("epd", "train").write_text(json.dumps({"uid": "u", "parents": parents}))
    assert explained(stage)["commands"][0] == f"autocast why {tmp_path}/rd/ae"


def test_what_ails_a_model_is_told_of_a_training_that_is_done(
    stage_with: Callable[..., Stage], explained: Explained, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = stage_with(*RAN, kind="ae", done=True)
    run = stage.directory
    typed = "bottleneck=gaussian objective=vae trainer.max_epochs=9"
    config: Any = OmegaConf.to_container(compose(Request("ae", tuple(typed.split()))).config)
    data = config["datamodule"]["data_path"]
    run.config_file("ae").write_text(yaml.safe_dump(config))
    argv = ["autocast", "ae", "--resume-from", "rd/old", "--workdir", "outputs/rd/00"]
    record = {"uid": "cafe0001", "parents": [], "mode": "local", "argv": argv, "init_from": None}
    run.run_file("ae", "train").write_text(json.dumps(record))
    collapsed = {"val/active_units": 0.0, "val/vrmse": 1.0, "val/loss/kl": 0.01}
    lines = [json.dumps({"epoch": epoch, **collapsed}) + "\n" for epoch in range(1, 7)]
    run.metrics_file("ae").parent.mkdir(parents=True, exist_ok=True)
    run.metrics_file("ae").write_text("".join(lines) + '{"epoch": 7, "val')
    found = explained(stage)
    assert found["cause"] == "done"
    (ailment,) = found["ailments"]
    assert (ailment["kind"], ailment["name"]) == ("ae", "posterior collapse")
    assert ailment["commands"][1] == (f"autocast ae --dataset {data} {typed} model.objective.weights.kl.weight=0.01")
    why.show("rd/00", kind=None, stage=None, json=False, output_base=run.path.parents[1])
    told = capsys.readouterr().out
    assert "posterior collapse   ae train: the posterior has collapsed: 0 channels" in told
    assert f"try                  autocast ae --dataset {data} --preset resume_fix --init-from {run.quoted}" in told
