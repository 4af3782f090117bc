import pytest
import torch

from autocast.errors import ConfigError
from autocast.training.curriculum import Growing, StepWise
from autocast.types import Batch


@pytest.mark.parametrize(
    ("curriculum", "expected"),
    [
        (Growing(every=3), [1, 1, 1, 2, 2, 2, 3, 3]),
        (StepWise(milestones=[2, 3, 3]), [1, 1, 2, 4, 4, 4, 4, 4]),
        (StepWise(milestones=[]), [1] * 8),
    ],
)
def test_windows_follow_from_the_step_alone(curriculum, expected):
    assert [curriculum(step) for step in range(8)] == expected
    assert [curriculum(step) for step in reversed(range(8))] == expected[::-1]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Growing(every=0), "training.curriculum.every=0: must be at least 1"),
        (lambda: StepWise(milestones=[5, 2]), r"training.curriculum.milestones=\[5, 2\]: must be in ascending order"),
    ],
)
def test_settings_that_cannot_work_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def unrolled(toy):
    """Data of three windows, and a model that keeps how many it was trained and validated on."""

    class Model(toy.ToyModel):
        n_steps_output = toy.N_OUTPUT

        def __init__(self):
            super().__init__()
            self.trained, self.validated = [], []

        def loss(self, batch, noise):
            n_windows = batch.output_fields.shape[1] // toy.N_OUTPUT
            (self.trained if self.training else self.validated).append(n_windows)
            return super().loss(Batch(batch.input_fields, batch.output_fields[:, : toy.N_OUTPUT]), noise)

    data = toy.ToyData()
    for windows in (data.train, data.valid):
        windows.y = torch.cat([windows.y] * 3, dim=1)
    return Model(), data


def test_training_is_cut_and_validation_is_not(train, toy):
    model, data = unrolled(toy)
    train(model, data=data, max_epochs=2, curriculum=Growing(every=3))
    assert model.trained == [1, 1, 1, 2, 2, 2, 3, 3]
    assert set(model.validated) == {3}


def test_without_a_curriculum_all_windows_are_trained_on(train, toy):
    model, data = unrolled(toy)
    train(model, data=data, max_epochs=1)
    assert model.trained == [3] * 4


def test_a_resumed_run_goes_on_with_the_same_windows(train, toy, tmp_path):
    model, data = unrolled(toy)
    summary = train(model, data=data, max_epochs=1, curriculum=Growing(every=3))
    again, data = unrolled(toy)
    last = summary.checkpoint_file.parent / "epd" / "checkpoints" / "last.ckpt"
    train(again, data=data, max_epochs=3, run_dir=tmp_path / "again", resume_from=last, curriculum=Growing(every=3))
    assert model.trained + again.trained == [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3]


def test_accumulated_batches_of_a_step_have_the_same_windows(train, toy):
    model, data = unrolled(toy)
    options = {"accumulate_grad_batches": 2}
    train(model, data=data, max_epochs=2, curriculum=Growing(every=1), trainer_options=options)
    assert model.trained == [1, 1, 2, 2, 3, 3, 3, 3]
