"""Configs of older trainers become configs that compose."""

import json
import shlex
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from autocast.errors import ConfigError
from autocast.runs.compose import compose
from autocast.runs.importing.command import ImportRequest, import_config
from autocast.runs.importing.files import read_foreign
from autocast.runs.request import Request

SINGLE = {
    "training": {
        "output_dir": "checkpoints/vae",
        "epochs": 100,
        "batch_size": 4,
        "learning_rate": 2e-4,
        "weight_decay": 0,
        "kl_weight": 1e-6,
        "kl_anneal_steps": 500,
        "reg_type": "kl",
        "recon_type": "perceptual",
        "perceptual_weight": 0.5,
        "gan_weight": 0.25,
        "gan_start": 1000,
        "disc_lr": 3e-4,
        "device": "cuda",
        "perceptual_device": "cpu",
        "disc_device": None,
        "micro_batch_size": 2,
        "use_amp": True,
        "save_every": 5,
        "resume": None,
        "seed": 7,
        "img_size": 256,
    },
    "vae": {
        "in_channels": 1,
        "base_ch": 96,
        "ch_mult": [1, 2],
        "num_res_blocks": 1,
        "attn_resolutions": [16],
        "z_channels": 4,
        "embed_dim": 3,
        "dropout": 0,
        "use_attention": True,
        "double_z": True,
    },
}
PRESETS = {
    "_comment": "says something",
    "base_config": {
        "embedding_size": 512,
        "num_channels": 128,
        "beta": 5.0,
        "input_img_size": 128,
        "batch_size": 128,
        "lr": 1e-4,
        "max_epoch": 100,
        "dataset_dir": "faces",
        "dataset_subset": None,
    },
    "loss_presets": {
        "_comment": "says something",
        "mse_l1": {
            "_description": "says something",
            "use_mse": True,
            "use_l1": True,
            "use_perceptual_loss": False,
            "use_lpips": False,
            "mse_weight": 0.8,
            "l1_weight": 0.2,
        },
        "everything": {
            "mse_weight": 0.4,
            "l1_weight": 0.2,
            "perceptual_schedule": True,
            "perceptual_end": 0.3,
            "perceptual_warmup_epochs": 35,
            "lpips_weight": 0.2,
        },
    },
    "training_presets": {
        "quick_test": {"max_epoch": 1, "batch_size": 64, "lr": 1e-3},
        "extended": {"beta_schedule": True, "beta_start": 0.1, "beta_end": 2.0, "beta_warmup_epochs": 30},
    },
    "model_presets": {"small": {"embedding_size": 256, "num_channels": 64}, "as_the_base": {}},
    "dataset_presets": {"tiny": {"dataset_subset": 1000}, "full": {"dataset_subset": None}},
}


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(document, name="vae"):
    file = Path(f"{name}.json")
    file.write_text(json.dumps(document))
    return file


def changed(document, section, **values):
    made = deepcopy(document)
    made[section] |= values
    return made


def imported(document, name="vae", **flags):
    return import_config(ImportRequest(written(document, name), **flags))


def composed(*words):
    composition = compose(Request("ae", overrides=(*words, "datamodule.data_path=."), config_dir=Path("mine")))
    assert not composition.problems
    return composition.config


def subjects(document):
    return sorted(problem.subject for problem in read_foreign(written(document)).problems)


def test_one_training_becomes_a_preset():
    assert imported(SINGLE, out=Path("mine")) == 0
    config = composed("preset=imported_vae")
    encoder, objective = config.model.encoder, config.model.objective
    assert (encoder.base_ch, list(encoder.ch_mult), encoder.embed_dim) == (96, [1, 2], 3)
    assert (objective.reduction, objective.weights.mse, objective.weights.perceptual) == ("mean", 1.0, 1.5)
    assert (objective.weights.kl.weight, objective.weights.kl.warmup) == (1e-6, 500)
    assert (objective.weights.adversarial.then, objective.weights.adversarial.delay) == (0.25, 1000)
    assert objective.terms.adversarial.learning_rate == 3e-4
    assert objective.terms.perceptual.device == "cpu"
    assert (config.optimizer.learning_rate, config.optimizer.algorithm.weight_decay) == (2e-4, 0)
    trainer = config.trainer
    assert (trainer.max_epochs, trainer.precision, trainer.micro_batch) == (100, "bf16-mixed", 2)
    assert (config.datamodule.batch_size, config.checkpoint.every_n_epochs, config.seed) == (4, 5, 7)


def test_an_entropy_of_logits_is_imported_as_a_squared_error_and_told():
    document = changed(SINGLE, "training", recon_type="bce", perceptual_weight=0)
    assert imported(document, out=Path("mine")) == 0
    objective = composed("preset=imported_vae").model.objective
    assert (objective.weights.mse, {*objective.terms} & {"bce", "perceptual"}) == (1.0, set())
    (note,) = (note for note in read_foreign(written(document)).notes if "recon_type" in note)
    assert "imported as mse" in note
    assert "CrossEntropy with from_logits=true" in note


def test_every_preset_becomes_a_file():
    assert imported(PRESETS, "config_unified", out=Path("mine")) == 0
    config = composed(
        "objective=imported_mse_l1", "training=imported_quick_test", "model=imported_small", "subset=imported_tiny"
    )
    assert config.model.objective.weights == {"mse": 0.8, "l1": 0.2, "kl": 5.0}
    assert (config.model.encoder.latent_channels, list(config.model.encoder.widths)) == (256, [64, 128, 256, 512])
    assert (config.trainer.max_epochs, config.datamodule.batch_size, config.optimizer.learning_rate) == (1, 64, 1e-3)
    config = composed("objective=imported_everything", "training=imported_extended", "model=imported_as_the_base")
    weights = config.model.objective.weights
    assert (weights.perceptual.points, weights.lpips) == ([[0, 0.0], ["35 epochs", 0.3]], 0.2)
    assert weights.kl.points == [[0, 0.1], ["30 epochs", 2.0]]
    assert config.model.encoder.latent_channels == 512
    assert config.datamodule.batch_size == 128
    subsets = {name: yaml.safe_load(Path(f"mine/subset/imported_{name}.yaml").read_text()) for name in ("tiny", "full")}
    assert subsets == {"tiny": {"subset": 1000}, "full": {"subset": None}}


def test_a_weight_that_collapses_latents_is_told(capsys):
    assert imported(PRESETS) == 0
    assert (
        "beta 3.07e+05 in the units of an ELBO, for frames of 128 × 128 × 3: the latents will"
        in capsys.readouterr().out
    )


def test_what_is_printed_is_yaml(capsys):
    assert imported(PRESETS) == 0
    assert len([*yaml.safe_load_all(capsys.readouterr().out)]) == 8
    assert not Path("mine").exists()


def test_keys_without_a_counterpart_are_told_with_what_to_do():
    notes = read_foreign(written(SINGLE)).notes
    assert 'training.output_dir="checkpoints/vae": give --workdir DIR' in notes
    assert not [note for note in notes if note.startswith("training.resume")]
    assert 'base_config.dataset_dir="faces": give --dataset DIR' in read_foreign(written(PRESETS)).notes


def test_notes_are_comments_of_what_they_are_about():
    document = changed(PRESETS, "loss_presets", diverse={"mse_weight": 1.0, "generation_weight": 0.1})
    document = changed(document, "training_presets", controlled={"adaptive_kl_control": True})
    texts = {str(made.file): made.text for made in read_foreign(written(document)).files}
    assert (
        "# loss_presets.diverse.generation_weight=0.1: there is no such term"
        in texts["objective/imported_diverse.yaml"]
    )
    controlled = texts["training/imported_controlled.yaml"]
    assert "# training_presets.controlled.adaptive_kl_control=true: there are no controllers" in controlled
    assert "ReduceLROnPlateau" in controlled
    assert "# base_config.input_img_size=128: fields keep" in texts["model/imported_small.yaml"]
    assert '# base_config.dataset_dir="faces": give' in texts["subset/imported_tiny.yaml"]
    everything = texts["objective/imported_everything.yaml"]
    assert "VGG19" in everything
    assert "a distance of random convolutions without perceptual.weights_file" in everything


def test_what_is_printed_has_every_note_once(capsys):
    document = {"base_config": {"dataset_dir": "faces", "adaptive_kl_control": False}, "loss_presets": {"a": {}}}
    document = changed(document, "loss_presets", a={"mse_weight": 1.0, "generation_weight": 0.1})
    assert imported(document) == 0
    told = capsys.readouterr().out
    assert len([*yaml.safe_load_all(told)]) == 1
    notes = read_foreign(written(document)).notes
    assert [note.partition("=")[0] for note in notes] == ["base_config.dataset_dir", "loss_presets.a.generation_weight"]
    assert [told.count(f"# {note}\n") for note in notes] == [1, 1]


def test_a_constant_rate_is_told():
    assert any("optimizer.lr_scheduler=null" in note for note in read_foreign(written(SINGLE)).notes)
    assert imported(SINGLE, out=Path("mine")) == 0
    assert composed("preset=imported_vae", "optimizer.lr_scheduler=null").optimizer.lr_scheduler is None


def test_the_perceptual_schedule_of_a_loss_wins_over_that_of_a_training():
    own = {"perceptual_schedule": True, "perceptual_end": 0.6, "perceptual_warmup_epochs": 25}
    document = changed(PRESETS, "training_presets", slow=own)
    document = changed(document, "loss_presets", only_mse={"mse_weight": 1.0}, fixed={"perceptual_weight": 0.2})
    assert imported(document, out=Path("mine")) == 0
    weights = composed("objective=imported_everything", "training=imported_slow").model.objective.weights
    assert weights.perceptual.points == [[0, 0.0], ["35 epochs", 0.3]]
    weights = composed("objective=imported_only_mse", "training=imported_slow").model.objective.weights
    assert {*weights} == {"mse", "kl"}
    (note,) = (note for note in read_foreign(written(document)).notes if "slow.perceptual_schedule" in note)
    (typed,) = shlex.split(note.partition(" give ")[2])
    weights = composed("objective=imported_fixed", "training=imported_slow", typed).model.objective.weights
    assert weights.perceptual.points == [[0, 0.0], ["25 epochs", 0.6]]


def test_values_have_bounds_that_are_told_at_once(capsys):
    document = changed(SINGLE, "training", batch_size=0, epochs="100", kl_weight=-1, seed=0, gan_start=0)
    document = changed(document, "vae", ch_mult=[1, 0], dropout=float("nan"))
    keys = ("training.batch_size", "training.epochs", "training.kl_weight", "vae.ch_mult", "vae.dropout")
    assert subjects(document) == [*keys]
    assert imported(document) == 2
    told = capsys.readouterr().err
    assert "0: a whole number from 1 is wanted" in told
    assert '"100": a whole number' in told
    assert "-1: a number from 0 is wanted" in told
    assert subjects(changed(SINGLE, "training", epochs=None)) == ["training.epochs"]
    wrong = changed(PRESETS, "training_presets", wrong={"max_epoch": -3, "lr": -1e-3})
    assert subjects(wrong) == ["training_presets.wrong.lr", "training_presets.wrong.max_epoch"]


def test_unknown_keys_are_told_in_the_order_of_the_file():
    names = ["zeta", "alpha", "mu", "beta_two", "omega"]
    problems = read_foreign(written(changed(SINGLE, "training", **dict.fromkeys(names, 1)))).problems
    assert [problem.subject for problem in problems] == [f"training.{name}" for name in names]


def test_what_to_do_next_names_a_dataset(capsys):
    assert imported(SINGLE, out=Path("mine")) == 0
    assert "autocast ae --dataset DIR --config-dir mine preset=imported_vae" in " ".join(
        capsys.readouterr().out.split()
    )


def test_all_mistakes_are_told_at_once(capsys):
    document = changed(SINGLE, "training", epoch=3, batch_size="many", recon_type="l2", reg_type="vq", use_amp=1)
    document = changed(document, "vae", ch_mult=3, double_z=False)
    keys = ("batch_size", "epoch", "recon_type", "reg_type", "use_amp")
    assert subjects(document) == [*(f"training.{key}" for key in keys), "vae.ch_mult", "vae.double_z"]
    assert imported(document) == 2
    assert "no such key. Did you mean epochs?" in capsys.readouterr().err
    document = changed(PRESETS, "loss_presets", mse_l1={"mse_wieght": 1.0}, everything=3)
    document = changed(document, "base_config", beta="much")
    assert {"base_config.beta", "loss_presets.mse_l1.mse_wieght", "loss_presets.everything"} <= {*subjects(document)}


def test_presets_are_files_of_their_folder():
    made = {"../../../evil": {}, "a b": {}, "größe": {}, "fine_1.5-x": {}}
    document = changed(changed(PRESETS, "model_presets", **made), "training_presets", **{"": {}})
    wrong = [f"model_presets.{name}" for name in ("../../../evil", "a b", "größe")]
    assert subjects(document) == [*wrong, "training_presets."]
    assert imported(document, out=Path("mine/deep/er")) == 2
    assert not Path("mine").exists()


@pytest.mark.parametrize("subset", [0, -3])
def test_a_subset_has_something_in_it(subset):
    assert subjects(changed(PRESETS, "dataset_presets", none={"dataset_subset": subset})) == [
        "dataset_presets.none.dataset_subset"
    ]


def test_a_loss_reconstructs_something():
    off = {"use_mse": False, "mse_weight": 1.0, "l1_weight": 0}
    assert subjects(changed(PRESETS, "loss_presets", only_kl=off)) == ["loss_presets.only_kl"]
    wrong = changed(PRESETS, "loss_presets", wrong={"mse_weight": "much"})
    assert subjects(wrong) == ["loss_presets.wrong.mse_weight"]


def test_a_section_that_is_misspelt_is_named():
    assert subjects({**PRESETS, "model_preset": {}}) == ["model_preset"]
    with pytest.raises(ConfigError, match="Did you mean loss_presets"):
        read_foreign(written({"loss_preset": {}}))
    with pytest.raises(ConfigError, match="no such file"):
        read_foreign(Path("nope.json"))
    Path("text.json").write_text("epochs: 3")
    with pytest.raises(ConfigError, match="not JSON"):
        read_foreign(Path("text.json"))


def test_nothing_is_overwritten_unasked():
    assert imported(SINGLE, out=Path("mine")) == 0
    file = Path("mine/preset/imported_vae.yaml")
    file.write_text("my own")
    with pytest.raises(ConfigError, match=r"there already.*--overwrite"):
        imported(SINGLE, out=Path("mine"))
    assert file.read_text() == "my own"
    assert imported(SINGLE, out=Path("mine"), overwrite=True) == 0
    assert file.read_text() != "my own"


def test_a_preset_may_be_named():
    assert imported(SINGLE, out=Path("mine/preset/faces.yaml")) == 0
    assert composed("preset=faces").model.encoder.base_ch == 96
    with pytest.raises(ConfigError, match=r"Give --out mine/preset/faces\.yaml"):
        imported(SINGLE, out=Path("mine/faces.yaml"))
    with pytest.raises(ConfigError, match="Name a directory"):
        imported(PRESETS, out=Path("mine/preset/all.yaml"))


def test_a_dry_run_writes_nothing(capsys):
    assert imported(SINGLE, out=Path("mine"), dry_run=True) == 0
    assert not Path("mine").exists()
    assert "nothing was written" in capsys.readouterr().out


def test_scripts_get_a_document(capsys):
    assert imported(SINGLE, out=Path("mine"), json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert [*document["files"]] == ["preset/imported_vae.yaml"]
    assert document["written"] == ["mine/preset/imported_vae.yaml"]
