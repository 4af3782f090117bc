"""The report: one file that needs nothing else, opened in a real browser."""

import dataclasses
import re
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from autocast.evaluation import movies
from autocast.evaluation.figures import draw_figures
from autocast.evaluation.report import write_report
from autocast.evaluation.result import LATENT_COLUMNS, LatentUsage
from autocast.evaluation.verdict import verdict
from tests.evaluation.films import draw_videos

MEDIA = """
(async () => {
  const videos = [...document.querySelectorAll("video")], images = [...document.images];
  await Promise.all(videos.map((v) => v.readyState > 1 ? 0 : new Promise((done) => {
    v.addEventListener("loadeddata", done); v.addEventListener("error", done); setTimeout(done, 20000);
  })));
  await Promise.all(images.map((image) => image.decode().catch(() => 0)));
  return {
    videos: videos.map((v) => [v.readyState, v.videoWidth, v.duration]),
    images: images.map((i) => [i.complete, i.naturalWidth]),
    drawings: [...document.querySelectorAll("svg[role=img]")].map((s) => s.getAttribute("aria-label").length),
    overflow: document.documentElement.scrollWidth - screen.width,
  };
})()
"""
SORT = """
(() => {
  const table = document.querySelector("table"), header = table.querySelectorAll("thead th")[1];
  const column = () => [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[1].dataset.value));
  const states = [];
  for (let i = 0; i < 2; i++) { header.querySelector("button").click();
    states.push([header.getAttribute("aria-sort"), column()]); }
  return states;
})()
"""
PLAY = """
Promise.all([...document.querySelectorAll("video")].slice(0, 1).map((v) => new Promise((done) => {
  v.loop = true; v.muted = true; v.play();
  const wait = setInterval(() => { if (v.currentTime > 0) { clearInterval(wait); done(true); } }, 50);
  setTimeout(() => { clearInterval(wait); done(false); }, 20000);
})))
"""


@dataclass
class Sentence:
    text: str
    mark: str


VERDICT = [Sentence("Better than <persistence> & co.", "good"), Sentence("Too sure.", "warn"), Sentence("No.", "bad")]


@pytest.fixture(scope="module")
def write(tmp_path_factory, make_result):
    """Write the report of a toy evaluation, whose figures and films are drawn once."""
    parts = {}

    def write(findings=VERDICT, largest=10_000_000, **how):
        key = str(how)
        if key not in parts:
            directory = tmp_path_factory.mktemp("evaluation")
            result = make_result(**how)
            figures, videos = draw_figures(result, directory / "figures"), draw_videos(result, directory / "videos")
            parts[key] = directory, result, figures, videos
        directory, result, figures, videos = parts[key]
        return write_report(result, findings, figures, videos, directory / "report.html", largest=largest)

    return write


@pytest.fixture(scope="module")
def pages(tmp_path_factory, make_full_result):
    """A page of every kind, with everything that it may hold but films."""
    directory = tmp_path_factory.mktemp("pages")
    latents = pd.DataFrame({name: [0.1, 0.2] for name in LATENT_COLUMNS}).assign(channel=[0, 1], active=[True, False])
    usage = LatentUsage(latents, np.array([2.0, 1.0]), 0.01, 1.8, n_values=192, n_latents=24)
    results = {
        "ensemble": make_full_result(),
        "deterministic": make_full_result(n_members=1),
        "autoencoder": dataclasses.replace(make_full_result(n_members=1), reconstructs=True, latents=usage),
    }
    made = {}
    for kind, result in results.items():
        figures = draw_figures(result, directory / kind)
        made[kind] = write_report(result, verdict(result), figures, [], directory / f"{kind}.html")
    return made


class Tags(HTMLParser):
    """Every start tag with its attributes; refuses tags that are not closed in order."""

    VOID = ("meta", "link", "img", "br", "input")

    def __init__(self, page):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def failures(events):
    """What a browser complained about, and every request that left the page."""
    bad = ("Network.loadingFailed", "Runtime.exceptionThrown", "Log.entryAdded")
    requests = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    outside = [url[:80] for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    return outside + [event for event in events if event["method"] in bad]


@pytest.mark.parametrize("grid_shape", [(16,), (8, 12), (6, 8, 4)])
def test_a_browser_opens_it_with_all_media_and_no_failed_request(write, browser, grid_shape):
    media, events = browser.visit(write(grid_shape=grid_shape), MEDIA)
    assert failures(events) == []
    assert len(media["videos"]) == 2
    for ready, width, duration in media["videos"]:
        assert ready >= 2
        assert width > 0
        assert duration == pytest.approx(0.5, abs=0.11)
    assert len(media["drawings"]) == 9
    assert min(media["drawings"]) > 20


def test_a_phone_shows_it_without_scrolling_sideways(write, browser):
    media, events = browser.visit(write(), MEDIA, width=390, dark=True)
    assert media["overflow"] <= 0
    assert failures(events) == []


@pytest.mark.slow
def test_a_film_plays(write, browser):
    started, events = browser.visit(write(), PLAY)
    assert started
    assert all(started)
    assert failures(events) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ensemble", "deterministic", "autoencoder"])
def test_every_report_is_for_everyone(pages, examine, kind):
    examine(pages[kind])


def test_gifs_are_shown_as_pictures(browser, monkeypatch, make_result, tmp_path):
    monkeypatch.setattr(movies, "find_ffmpeg", lambda: None)
    result = make_result()
    page = write_report(result, VERDICT, [], draw_videos(result, tmp_path), tmp_path / "report.html")
    media, events = browser.visit(page, MEDIA)
    assert failures(events) == []
    assert len(media["images"]) == 2
    assert all(complete and width > 0 for complete, width in media["images"])


def test_a_table_sorts_both_ways_and_says_so(write, browser):
    states, _ = browser.visit(write(), SORT)
    (up, rising), (down, falling) = states
    assert (up, down) == ("ascending", "descending")
    assert rising == sorted(rising)
    assert falling == sorted(rising, reverse=True)


def test_nothing_in_it_points_outside(write):
    page = write().read_text()
    for tag, attributes in Tags(page).found:
        for name in ("src", "href", "xlink:href", "srcset", "poster"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, name)
    assert not re.search(r"@import|url\((?!#)", page)


def test_the_first_screen_is_the_verdict_and_what_it_says_is_escaped(write):
    page = write().read_text()
    first = page[page.index("<main>") : page.index("<nav")]
    assert "Better than &lt;persistence&gt; &amp; co." in first
    assert first.count("<video") == 1
    assert [first.count(f'class="{mark}"') for mark in ("good", "warn", "bad")] == [1, 1, 1]


def test_every_picture_has_words_and_every_identifier_is_used_once(write):
    tags = Tags(write().read_text()).found
    for tag, attributes in tags:
        if tag in ("img", "video") or attributes.get("role") == "img":
            assert attributes.get("alt") or attributes.get("aria-label")
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
    identifiers = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_it_says_how_to_repeat_the_evaluation(write):
    page = write().read_text()
    assert "autocast eval a&amp;b &lt;c&gt;" in page
    assert "versions.torch" in page


def test_films_beyond_the_size_limit_are_linked_the_median_last(write):
    whole = write()
    text, size = whole.read_text(), whole.stat().st_size
    films = [len(uri) for uri in re.findall(r'src="(data:video/mp4[^"]*)"', text)]
    page = write(largest=size + 60_000 - min(films)).read_text()
    assert page.count("<video") == 1
    assert "<video" in page[: page.index("<nav")]
    assert re.search(r'href="videos/trajectory_000\d.mp4"', page)


def test_the_size_limit_holds_for_figures_too(write):
    tiny = write(largest=1)
    assert tiny.stat().st_size < 60_000
    assert 'href="figures/scores_vrmse.png"' in tiny.read_text()


def test_a_bare_result_has_a_report_too(tmp_path, make_result):
    full = make_result(n_members=1)
    bare = type(full)(**{**vars(full), "examples": [], "spectra": None, "provenance": {}})
    page = write_report(bare, [], [], [], tmp_path / "report.html").read_text()
    assert "Is it any good?" in page
    Tags(page)


def test_writing_leaves_only_the_page(write):
    page = write()
    assert {path.name for path in page.parent.iterdir()} == {"figures", "videos", "report.html"}
