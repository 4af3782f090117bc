"""A toy evaluation and a browser to open its report in."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import importlib.util
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pandas as pd
import pytest

from autocast.evaluation.result import (
    ALL_CHANNELS,
    BASELINES,
    COVERAGE_COLUMNS,
    ENSEMBLE,
    MEAN,
    MEMBER,
    MODEL,
    SCORE_COLUMNS,
    WINKLER_COLUMNS,
    EvaluationResult,
    Example,
    Spectrum,
)
from autocast.types import FieldSpec

EVERYONE = """
(async () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const unsorted = [], buttons = [...document.querySelectorAll("thead th button")];
  for (const button of buttons) {
    const header = button.closest("th"), table = button.closest("table");
    button.focus();
    button.click();
    const rows = [...table.tBodies[0].rows].map((row) => row.cells[header.cellIndex].dataset.value);
    const numbers = rows.filter((value) => value !== undefined).map(Number);
    const rises = numbers.every((value, i) => i === 0 || value >= numbers[i - 1]);
    if (document.activeElement !== button || header.getAttribute("aria-sort") !== "ascending" || !rises)
      unsorted.push(button.textContent);
  }
  const overflow = document.documentElement.scrollWidth - WIDTH;
  const result = await axe.run(document, { resultTypes: ["violations"] });
  const violations = result.violations
    .filter((each) => ["serious", "critical"].includes(each.impact))
    .map((each) => [each.id, each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160))]);
  return { violations, overflow, unsorted, n_columns: buttons.length };
})()
"""
"""Opens all that is folded away, sorts every table by every column with the keyboard's focus, and runs axe-core."""

UNITS = {"u": "mol/m³", "v": "", "p": "Pa"}


def toy_spec(grid_shape: tuple[int, ...] = (8, 12), channels: tuple[str, ...] = ("u", "v")) -> FieldSpec:
    n = len(grid_shape)
    return FieldSpec(
        dataset_name="toy",
        channel_names=channels,
        units=tuple(UNITS[name] for name in channels),
        dim_names=("x", "y", "z")[:n],
        grid_shape=grid_shape,
        extent=(1.0,) * n,
        boundary=("periodic",) * n,
        time_step=0.25,
    )


def toy_example(spec: FieldSpec, n_steps: int = 5, n_members: int = 3, trajectory: int = 0) -> Example:
    """A deterministic one where `n_members` is 1."""
    rng = np.random.default_rng(trajectory)
    truth = rng.normal(size=(n_steps, *spec.grid_shape, spec.n_channels)).astype(np.float32)
    members = truth + 0.2 * rng.normal(size=(n_members, *truth.shape)).astype(np.float32)
    spread = members.std(0, ddof=1) if n_members > 1 else None
    return Example(trajectory, truth[:2], truth, members, members.mean(0), spread, scalars={"F": 0.04})


def toy_scores(spec: FieldSpec, n_steps: int, n_members: int) -> pd.DataFrame:
    kinds = [(MODEL, metric, kind) for metric in ("vrmse", "rmse") for kind in (MEMBER, MEAN)[: min(n_members, 2)]]
    kinds += [(name, metric, MEMBER) for name in BASELINES for metric in ("vrmse", "rmse")]
    if n_members > 1:
        kinds += [(MODEL, metric, ENSEMBLE) for metric in ("crps_fair", "spread", "skill", "ssr")]
    rows = [
        (model, metric, kind, lead, channel, UNITS.get(channel, ""), 0.1 * lead + 0.01 * i, 0.09 * lead, 0.12 * lead)
        for i, (model, metric, kind) in enumerate(kinds)
        for lead in range(1, n_steps + 1)
        for channel in (ALL_CHANNELS, *spec.channel_names)
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def toy_result(
    grid_shape: tuple[int, ...] = (8, 12),
    channels: tuple[str, ...] = ("u", "v"),
    n_steps: int = 5,
    n_members: int = 3,
    n_examples: int = 2,
) -> EvaluationResult:
    spec = toy_spec(grid_shape, channels)
    k = np.arange(1, 5) / 2
    power = np.broadcast_to((k**-3.0)[None, :, None], (2, 4, spec.n_channels))
    levels = [(0.5, 0.4, window, ALL_CHANNELS, 0.3, 0.5) for window in ("all", "1", "2:5")]
    return EvaluationResult(
        spec=spec,
        scores=toy_scores(spec, n_steps, n_members),
        n_members=n_members,
        n_trajectories=7,
        n_steps=n_steps,
        deterministic=n_members == 1,
        examples=[toy_example(spec, n_steps, n_members, i) for i in range(n_examples)],
        spectra=Spectrum(k, (1, n_steps), power, 0.9 * power, None if n_members == 1 else 0.5 * power),
        coverage=None if n_members == 1 else pd.DataFrame(levels, columns=list(COVERAGE_COLUMNS)),
        provenance={"command": "autocast eval a&b <c>", "config": "seed: 1", "versions": {"torch": "2.13"}},
    )


def full_result(n_members: int = 3, n_steps: int = 5) -> EvaluationResult:
    """A toy evaluation for which every score was asked that has a place of its own in the report."""
    result = toy_result(n_steps=n_steps, n_members=n_members)
    rows = result.scores[(result.scores.metric == "vrmse") & (result.scores.kind == MEMBER)]
    added = [f"coherence_{band}" for band in ("low", "mid", "high", "tail")]
    added += [f"psrmse_{band}" for band in ("low", "mid", "high", "tail")] + ["blow_up", "mean_drift", "energy_drift"]
    scores = pd.concat([result.scores, *(rows.assign(metric=metric) for metric in added)])
    windows = result.scores[result.scores.lead_time == 1].drop(columns="lead_time").assign(window="all")
    valid = {"model": MODEL, "metric": "valid_time_correlation", "kind": MEAN, "window": "all", "unit": "steps"}
    times = pd.DataFrame({"trajectory": range(7), "value": [1.0, 3.0, 3.0, 4.0, 6.0, 6.0, 2.0]}).assign(**valid)
    mean = pd.DataFrame([{**valid, "channel": ALL_CHANNELS, "value": 25 / 7, "low": 2.0, "high": 5.0}])
    levels = [(level, 2 * level, "", window, "u") for level in (0.5, 0.8) for window in ("all", "1")]
    timing = {"seconds_per_step_and_member": 0.01, "device": "cpu", "compiled": False}
    return dataclasses.replace(
        result,
        scores=scores,
        windows=pd.concat([windows, mean]).assign(n_trajectories=7),
        trajectories=times,
        lengths=(n_steps,) * 7,
        provenance={**result.provenance, "timing": timing, "data": {"digest": 8 * "3caec386"}},
        winkler=pd.DataFrame(levels, columns=list(WINKLER_COLUMNS)),
    )


@pytest.fixture(scope="session")
def make_full_result() -> Callable[..., EvaluationResult]:
    return full_result


@pytest.fixture(scope="session")
def make_result() -> Callable[..., EvaluationResult]:
    return toy_result


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., FieldSpec]:
    return toy_spec


@pytest.fixture(scope="session")
def make_example() -> Callable[..., Example]:
    return toy_example


class Browser:
    """Headless Chromium, driven through its DevTools protocol."""

    FLAGS = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--remote-debugging-port=0",
    )

    def __init__(self, executable: str, profile: Path):
        self.profile = profile
        command = [executable, *self.FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)

    def visit(self, page: Path, expression: str, **how: Any) -> tuple[Any, list[dict[str, Any]]]:
        """Open `page`, wait for all of it, evaluate a JavaScript expression (a promise is awaited).

        Returns:
            Its value, and every DevTools event until then.
        """
        return asyncio.run(self._visit(page, expression, **how))

    async def _visit(
        self, page: Path, expression: str, width: int = 1280, dark: bool = False, screenshot: Path | None = None
    ) -> tuple[Any, list[dict[str, Any]]]:
        async with aiohttp.ClientSession() as http:
            async with http.put(f"http://127.0.0.1:{self._port()}/json/new?about:blank") as answer:
                target = json.loads(await answer.text())
            async with http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Network", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
                await tab.call("Emulation.setDeviceMetricsOverride", **size)
                scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
                await tab.call("Emulation.setEmulatedMedia", features=[scheme])
                await tab.call("Page.navigate", url=page.as_uri())
                await tab.event("Page.loadEventFired")
                answer = await tab.call(
                    "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
                )
                if screenshot is not None:
                    await tab.screenshot(screenshot)
                await tab.call("Page.close")
                return answer["result"].get("value"), tab.events

    def _port(self) -> str:
        file = self.profile / "DevToolsActivePort"
        for _ in range(300):
            if file.exists() and (lines := file.read_text().splitlines()):
                return lines[0]
            time.sleep(0.1)
        raise RuntimeError("Chromium did not open its DevTools port within 30 s")


class Tab:
    """One tab's socket: calls and their answers, and the events in between."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse):
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._n_calls = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._n_calls += 1
        await self.socket.send_json({"id": self._n_calls, "method": method, "params": params})
        while True:
            message = await self.socket.receive_json(timeout=60)
            if message.get("id") == self._n_calls:
                return message["result"]
            self.events.append(message)

    async def event(self, method: str) -> None:
        while not any(event.get("method") == method for event in self.events):
            self.events.append(await self.socket.receive_json(timeout=60))

    async def screenshot(self, path: Path) -> None:
        content = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(content["data"]))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no browser: install Debian's chromium to open the report in it")
    browser = Browser(executable, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def examine(browser: Browser) -> Callable[[Path], None]:
    """Fails unless a page is for everyone, on a light desk and on a dark phone: nothing that axe-core calls serious,
    nothing that hangs over the edge, every table sorts by all of its columns, nothing asks for more."""
    package = importlib.util.find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        pytest.skip("no axe-core: pip install axe-playwright-python")
    axe = (Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8")

    def examine(page: Path) -> None:
        for width, dark in ((1280, False), (1280, True), (360, False), (360, True)):
            found, events = browser.visit(page, f"{axe}\n;const WIDTH = {width};\n{EVERYONE}", width=width, dark=dark)
            requests = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
            assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
            assert found["violations"] == []
            assert found["overflow"] <= 0
            assert found["unsorted"] == []
            assert found["n_columns"] > 0

    return examine
