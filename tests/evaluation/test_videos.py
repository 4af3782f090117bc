"""Films: every frame arrives, at a size that plays everywhere; a GIF where there is no encoder."""

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from autocast.evaluation import movies
from autocast.evaluation.scales import field_scale
from autocast.evaluation.videos import draw_dataset_video, draw_example_video, example_rows
from tests.evaluation.films import draw_videos


def read(path):
    """Frames `(n, H, W, 3)` of a film, decoded."""
    frames = imageio_ffmpeg.read_frames(str(path))
    width, height = next(frames)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in frames])


@pytest.fixture
def no_ffmpeg(monkeypatch):
    monkeypatch.setattr(movies, "find_ffmpeg", lambda: None)


@pytest.mark.parametrize("grid_shape", [(16,), (8, 12), (6, 8, 4)])
@pytest.mark.parametrize("n_members", [1, 3])
def test_a_film_has_a_frame_per_lead_time_and_even_sizes(make_spec, make_example, tmp_path, grid_shape, n_members):
    spec = make_spec(grid_shape)
    path = draw_example_video(make_example(spec, 5, n_members), spec, tmp_path / "new" / "film.mp4", fps=4)
    frames = read(path)
    assert path.name == "film.mp4"
    assert len(frames) == 5
    assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    assert (frames[0] != frames[-1]).any()
    assert [p.name for p in path.parent.iterdir()] == ["film.mp4"]


def test_a_film_is_h264_that_browsers_play_at_the_rate_asked_for(make_spec, make_example, tmp_path):
    spec = make_spec()
    path = draw_example_video(make_example(spec), spec, tmp_path / "film.mp4", fps=4)
    about = next(imageio_ffmpeg.read_frames(str(path)))
    assert about["codec"] == "h264"
    assert about["pix_fmt"].startswith("yuv420p")
    assert about["fps"] == 4
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_the_colours_of_the_fields_come_from_the_truth_alone(make_spec, make_example):
    example = make_example(make_spec())
    example.mean[:] = 1e6
    truth, mean, *_ = example_rows(example, make_spec())
    assert truth.scales == mean.scales == [field_scale(example.truth[..., c]) for c in range(2)]


@pytest.mark.parametrize(
    ("n_members", "expected"),
    [(3, ["truth", "mean", "member 1", "member 2", "error of mean", "spread"]), (1, ["truth", "forecast", "error"])],
)
def test_rows_of_an_ensemble_and_of_a_deterministic_forecast(make_spec, make_example, n_members, expected):
    assert [row.label for row in example_rows(make_example(make_spec(), n_members=n_members), make_spec())] == expected


def test_nan_and_infinity_are_filmed(make_spec, make_example, tmp_path):
    spec = make_spec()
    example = make_example(spec)
    example.mean[2:] = np.nan
    example.members[:, 3:] = np.inf
    example.spread[3:] = np.nan
    assert len(read(draw_example_video(example, spec, tmp_path / "film.mp4"))) == 5


@pytest.mark.parametrize("grid_shape", [(1, 1), (700, 3), (300, 500)])
def test_grids_of_any_size_make_pages_of_a_sensible_size(make_spec, make_example, tmp_path, grid_shape):
    spec = make_spec(grid_shape, channels=("u",))
    _, height, width, _ = read(draw_example_video(make_example(spec, 2), spec, tmp_path / "film.mp4")).shape
    assert 200 < height < 1800
    assert 200 < width < 1800


def test_without_an_encoder_a_film_is_a_gif(make_spec, make_example, tmp_path, no_ffmpeg):
    spec = make_spec()
    path = draw_example_video(make_example(spec), spec, tmp_path / "film.mp4", fps=10)
    picture = Image.open(path)
    assert path.name == "film.gif"
    assert picture.n_frames == 5
    assert picture.info["duration"] == 100


def test_an_encoder_that_fails_gives_a_gif_too(make_spec, make_example, tmp_path, monkeypatch):
    monkeypatch.setattr(movies, "find_ffmpeg", lambda: "/bin/false")
    spec = make_spec()
    path = draw_example_video(make_example(spec), spec, tmp_path / "film.mp4")
    assert [p.name for p in tmp_path.iterdir()] == [path.name] == ["film.gif"]


def test_a_missing_ffmpeg_is_not_an_error(monkeypatch):
    def raise_error():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(movies.imageio_ffmpeg, "get_ffmpeg_exe", raise_error)
    assert movies.find_ffmpeg() is None


def test_every_example_has_a_film_and_one_is_the_median(make_result, tmp_path):
    videos = draw_videos(make_result(n_examples=3), tmp_path)
    assert [video.path.name for video in videos] == [f"trajectory_000{i}.mp4" for i in range(3)]
    assert sum(video.is_median for video in videos) == 1


@pytest.mark.parametrize("grid_shape", [(16,), (8, 12), (6, 8, 4)])
def test_a_data_set_is_filmed(make_spec, tmp_path, grid_shape):
    fields = np.random.default_rng(0).normal(size=(2, 4, *grid_shape, 3)).astype(np.float32)
    path = draw_dataset_video(fields, make_spec(grid_shape, ("u", "v", "p")), tmp_path / "data.mp4", labels=["a", "b"])
    assert len(read(path)) == 4
