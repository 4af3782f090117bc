"""Films are drawn elsewhere while other work goes on; none of it is lost when they fail, and nothing is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autocast.evaluation.film_worker import FilmError, Films
from autocast.signals import StoppedError
from tests.evaluation.films import draw_videos


def hand_in(films, result):
    for example in result.examples:
        films.draw(example, result.spec)


def listener(told):
    return lambda event, values: told.append((event, values))


def wait_until(true, seconds=60):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_they_are_those_of_one_process_to_the_last_byte(make_result, tmp_path):
    result, told = make_result(n_examples=2), []
    alone = draw_videos(result, tmp_path / "alone")
    with Films(tmp_path / "elsewhere", 10) as films:
        hand_in(films, result)
        films.finish(listener(told))
    films.check()
    assert sorted(file.name for file in (tmp_path / "elsewhere").iterdir()) == [film.path.name for film in alone]
    for film in alone:
        assert film.path.read_bytes() == (tmp_path / "elsewhere" / film.path.name).read_bytes()
    assert told[-1] == ("progress", {"done": 2, "total": 2})
    assert multiprocessing.active_children() == []


def test_what_draws_knows_nothing_of_torch_and_steps_back():
    code = (
        "import sys, autocast.evaluation.film_worker as worker\n"
        "assert 'torch' not in sys.modules and worker.NICENESS > 0"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_a_film_that_fails_is_named_and_the_others_are_there(make_result, tmp_path):
    result, told = make_result(n_examples=3), []
    (tmp_path / "trajectory_0001.mp4").mkdir()
    with Films(tmp_path, 10) as films:
        hand_in(films, result)
        films.finish(listener(told))
    assert sorted(file.name for file in tmp_path.glob("*") if file.is_file()) == [
        "trajectory_0000.mp4",
        "trajectory_0002.mp4",
    ]
    notes = [values["text"] for event, values in told if event == "note"]
    assert len(notes) == 1
    assert notes[0].startswith("no film of trajectory 1: IsADirectoryError")
    with pytest.raises(FilmError, match=r"1 of 3 films [\s\S]*trajectory 1: IsADirectoryError[\s\S]*eval.video=false"):
        films.check()


def test_a_process_that_dies_takes_one_film_along(make_result, make_example, tmp_path):
    result = make_result(n_examples=2)
    with Films(tmp_path, 10) as films:
        films.draw(make_example(result.spec, n_steps=2000), result.spec)
        wait_until(lambda: list(tmp_path.glob(".trajectory_0000.*.partial.mp4")))
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGKILL)
        films.draw(result.examples[1], result.spec)
        films.finish(listener([]))
    with pytest.raises(FilmError, match="trajectory 0: the process that drew it ended with -9"):
        films.check()
    assert [file.name for file in tmp_path.iterdir()] == ["trajectory_0001.mp4"]


def test_nothing_is_left_when_the_work_is_stopped(make_result, make_example, tmp_path):
    result = make_result(n_examples=1)

    def stop(event, values):
        if list(tmp_path.glob(".trajectory_0000.*.partial.mp4")):
            raise StoppedError("SIGTERM")

    def work():
        with Films(tmp_path, 10) as films:
            films.draw(make_example(result.spec, n_steps=5000), result.spec)
            films.draw(make_example(result.spec, trajectory=1), result.spec)
            films.finish(stop)

    with pytest.raises(StoppedError):
        work()
    assert multiprocessing.active_children() == []
    assert list(tmp_path.iterdir()) == []


def test_without_examples_there_is_no_process(tmp_path):
    with Films(tmp_path / "videos", 10) as films:
        assert multiprocessing.active_children() == []
        films.finish(listener([]))
    films.check()
    assert not (tmp_path / "videos").exists()


KILLED = """
import sys, time
import numpy as np
from pathlib import Path
from autocast.evaluation.film_worker import Films
from autocast.evaluation.result import Example
from autocast.types import FieldSpec
import multiprocessing

if __name__ == "__main__":
    fields = np.zeros((5000, 8, 12, 1), np.float32)
    spec = FieldSpec("toy", ("u",), ("",), ("x", "y"), (8, 12), (1.0, 1.0), ("periodic",) * 2, 0.1)
    with Films(Path(sys.argv[1]), 10) as films:
        films.draw(Example(0, fields[:1], fields, fields[None], fields), spec)
        time.sleep(0.1)
        print(multiprocessing.active_children()[0].pid, flush=True)
        time.sleep(60)
"""


def test_no_orphan_is_left_by_a_process_that_is_killed(tmp_path):
    (tmp_path / "main.py").write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(tmp_path / "main.py"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as main:
        pid = int(main.stdout.readline())
        wait_until(lambda: list(tmp_path.glob(".trajectory_0000.*.partial.mp4")))
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
        assert "torch" not in Path(f"/proc/{pid}/maps").read_text()
        main.kill()
    wait_until(lambda: not is_running(pid))
    assert not (tmp_path / "trajectory_0000.mp4").exists()


def is_running(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
