"""Offline W&B runs are uploaded by wandb itself, in order and under one id, to a server of our own on this machine."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from autocast.errors import LaunchError
from autocast.runs.watch import sync
from autocast.runs.watch.stages import Stage

LAUNCHED = ("launched", {"action": "start", "uid": "cafe0001", "argv": []})
LOG_OFFLINE = """
import sys, wandb
run = wandb.init(mode="offline", project="autocast", id="cafe0001", name="rd/00", dir=sys.argv[1], resume="allow")
for step in range(int(sys.argv[2]), int(sys.argv[3])):
    run.log({"train/loss": 1 / (1 + step)}, step=step)
run.finish()
"""


class WandbServer(ThreadingHTTPServer):
    """As much of the server as `wandb sync` needs; keeps what it is sent, by run."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables.get("name")
        project = {"id": "p", "name": "autocast", "entity": {"id": "e", "name": "ada"}}
        if operation == "RunResumeStatus":
            return {"model": {**project, "bucket": self.bucket(name) if name in self.history else None}}
        if operation == "UpsertBucket":
            self.history.setdefault(str(name), [])
            return {"upsertBucket": {"inserted": True, "bucket": {**self.bucket(name), "project": project}}}
        if operation == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}

    def bucket(self, name: Any) -> dict[str, Any]:
        known = dict.fromkeys(("logLineCount", "eventsLineCount"), 0)
        empty = dict.fromkeys(("summaryMetrics", "config", "wandbConfig"), "{}")
        words = {"id": "r", "name": name, "displayName": "rd/00", "tags": [], "eventsTail": "[]"}
        lines = self.history[name]
        tail = json.dumps([json.dumps(line) for line in lines[-1:]])
        return {**known, **empty, **words, "historyLineCount": len(lines), "historyTail": tail}


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            content = gzip.decompress(content)
        if self.path == "/graphql":
            asked = json.loads(content)
            return self._reply({"data": self.server.answer(asked.get("operationName", ""), asked["variables"])})
        if self.path.endswith("/file_stream"):
            sent = (json.loads(content).get("files") or {}).get("wandb-history.jsonl")
            if sent:
                self.server.history[self.path.split("/")[-2]][sent["offset"] :] = map(json.loads, sent["content"])
        return self._reply({})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._reply({})

    def do_GET(self) -> None:
        self._reply({})

    def log_message(self, *words: Any) -> None: ...

    def _reply(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbServer]:
    """A server, and an account that it accepts."""
    serving = WandbServer()
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("WANDB_BASE_URL", serving.url)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_SILENT")
    yield serving
    serving.shutdown()
    serving.server_close()


def part(stage: Stage, moment: str, *, synced: bool = False) -> Path:
    """What looks like a part."""
    folder = stage.directory.logs_dir(stage.kind) / "wandb" / f"offline-run-{moment}-cafe0001"
    folder.mkdir(parents=True)
    (folder / "run-cafe0001.wandb").touch()
    if synced:
        (folder / "run-cafe0001.wandb.synced").touch()
    return folder


def log_offline(stage: Stage, first: int, last: int) -> None:
    folder = stage.directory.logs_dir(stage.kind)
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-c", LOG_OFFLINE, str(folder), str(first), str(last)]
    subprocess.run(words, check=True, capture_output=True, timeout=120)


def synced(base: Path, *, dry_run: bool = False, json: bool = False) -> int:
    return sync.sync(["rd/00"], dry_run=dry_run, json=json, output_base=base)


@pytest.mark.e2e
def test_parts_become_one_run_and_are_uploaded_once(
    stage_with: Callable[..., Stage], server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    stage = stage_with(LAUNCHED, done=True)
    log_offline(stage, 0, 3)
    log_offline(stage, 3, 5)
    assert synced(tmp_path) == 0
    assert [line["_step"] for line in server.history["cafe0001"]] == [0, 1, 2, 3, 4]
    out = capsys.readouterr().out
    assert "rd/00 epd (W&B run cafe0001): uploading 2 parts" in out
    assert f"uploaded to {server.url}/ada/autocast/runs/cafe0001" in out
    assert synced(tmp_path) == 0
    assert "nothing to upload, 2 parts uploaded before" in capsys.readouterr().out
    log_offline(stage, 5, 6)
    assert synced(tmp_path, json=True) == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert (told["id"], told["exit_code"], len(told["synced"]), told["waiting"]) == ("cafe0001", 0, 3, [])
    assert [line["_step"] for line in server.history["cafe0001"]] == [0, 1, 2, 3, 4, 5]


@pytest.mark.e2e
def test_without_a_key_the_remedy_is_named(
    stage_with: Callable[..., Stage], server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    part(stage_with(LAUNCHED, done=True), "20260101_000000")
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(sync.NoAccountError, match=r"Set WANDB_API_KEY, or run 'wandb login'"):
        synced(tmp_path)


def test_a_server_that_cannot_be_reached_is_told_at_once(
    stage_with: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    part(stage_with(LAUNCHED, done=True), "20260101_000000")
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(LaunchError, match=r"http://127\.0\.0\.1:9: cannot be reached .* Nothing was uploaded"):
        synced(tmp_path)


def test_a_server_of_ones_own_is_known_from_logging_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    assert sync._server() == "https://api.wandb.ai"
    (tmp_path / ".config" / "wandb").mkdir(parents=True)
    (tmp_path / ".config" / "wandb" / "settings").write_text("[default]\nbase_url = https://wandb.lab.org\n")
    assert sync._server() == "https://wandb.lab.org"


def test_a_dry_run_lists_what_is_left(
    stage_with: Callable[..., Stage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    stage = stage_with(LAUNCHED, done=True)
    part(stage, "20260101_000000", synced=True)
    folder = part(stage, "20260102_000000")
    assert synced(tmp_path, dry_run=True) == 0
    assert capsys.readouterr().out.splitlines() == [
        "rd/00 epd (W&B run cafe0001): would upload 1 part",
        f"  {folder}",
        "nothing was written, nothing was started",
    ]


def test_what_is_being_written_to_is_left_for_later(
    stage_with: Callable[..., Stage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        from autocast.runs.events import process_identity

        stage = stage_with(LAUNCHED, ("started", {"attempt": 1, "job_id": None, **process_identity(child.pid)}))
        first, second = part(stage, "20260101_000000"), part(stage, "20260102_000000")
        assert synced(tmp_path, dry_run=True, json=True) == 0
        (told,) = json.loads(capsys.readouterr().out)["runs"]
        assert (told["waiting"], told["open"]) == ([str(first)], str(second))
        os.utime(second / "run-cafe0001.wandb", (0, 0))
        synced(tmp_path, dry_run=True, json=True)
        assert json.loads(capsys.readouterr().out)["runs"][0]["open"] is None
    finally:
        child.communicate(b"\n")


def test_nothing_to_upload_is_said(
    stage_with: Callable[..., Stage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    stage_with(LAUNCHED, done=True)
    assert synced(tmp_path) == 0
    assert capsys.readouterr().out.startswith("rd/00: nothing to upload")
