"""From what was typed to a checked config, or to all that is wrong with it in one list."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from autocast.runs import sources
from autocast.runs.compose import compose
from autocast.runs.request import Request


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty folder with a data set in it, and nothing of the user's environment."""
    for name in ("AUTOCAST_DATASETS", "AUTOCAST_OUTPUTS", "AUTOCAST_TARGETS", "AUTOCAST_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "datasets" / "reaction_diffusion").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command, *words, **flags):
    return compose(Request(command=command, overrides=words, **flags))


def said(composition):
    return {problem.subject: problem.message for problem in composition.problems}


def config_of(command, *words, **flags):
    composition = run(command, *words, **flags)
    assert not composition.problems
    return OmegaConf.to_container(composition.config)


def test_all_mistakes_are_told_at_once_with_the_nearest_names(workplace):
    composition = run("epd", "trainer.max_epocs=3", "model.procesor=vitt", dataset="nope")
    assert [problem.subject for problem in composition.problems] == [
        "trainer.max_epocs=3",
        "model.procesor=vitt",
        "--dataset nope",
    ]
    messages = said(composition)
    assert messages["trainer.max_epocs=3"] == "no such key. Did you mean trainer.max_epochs?"
    assert "Did you mean model.processor?" in messages["model.procesor=vitt"]
    assert "Did you mean vit?" in messages["model.procesor=vitt"]
    assert "autocast data simulate --dataset nope" in messages["--dataset nope"]
    assert sorted(path.name for path in workplace.rglob("*")) == ["datasets", "reaction_diffusion"]


def test_an_unknown_option_lists_the_options():
    message = said(run("epd", "model.processor=vitt"))["model.processor=vitt"]
    assert message.startswith("no such processor. There are: diffusion, ")
    assert message.endswith("Did you mean vit?")


def test_a_group_with_one_place_is_chosen_by_its_name():
    found = run("ae", "objective=vae", "encoder=kl_small", "bottleneck=gaussian")
    assert not found.problems
    assert found.choices["objective@model.objective"] == "vae"
    assert (
        found.config.model
        == run(
            "ae", "objective@model.objective=vae", "model.encoder=kl_small", "model.bottleneck=gaussian"
        ).config.model
    )


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("batch_size=3", "datamodule.batch_size"),
        ("datamodul.batch_size=3", "datamodule.batch_size"),
        ("optimizer.algorithm.weigth_decay=3", "optimizer.algorithm.weight_decay"),
        ("~callbacks.emma", "callbacks.ema"),
        ("+trainer.max_epocks=3", "trainer.max_epochs"),
        ("++model.encoder.width=3", "model.encoder.widths"),
        ("backbone=vit", "backbone"),
        ("enkoder@model.encoder=dc", "encoder"),
        ("encoder@model.enkoder=dc", "encoder@model.encoder"),
        ("trainer=defualt", "default"),
        ("optimizer.algorithm._target_=torch.optim.AdamX", "Did you mean Adam?"),
        ("seeds=3", "seed"),
        ("+trainer.max_epochs=3", "trainer.max_epochs=3"),
    ],
)
def test_a_misspelt_word_gets_a_hint(word, hint):
    found = said(run("ae", word))
    assert list(found) == [word]
    assert hint in found[word]


@pytest.mark.parametrize(
    "word",
    [
        "trainer.max_epochs=abc",
        "trainer.max_epochs=2.5",
        "eval.n_members=many",
        "eval.batch_indices=[a]",
        "seed=null",
        "datamodule.batch_size=[1]",
        "optimizer.learning_rate=fast",
        "optimizer.algorithm.weight_decay=much",
        "checkpoint.every_n_epochs=often",
        "model.processor.sampler.n_steps=x",
    ],
)
def test_a_wrong_type_is_a_problem_of_what_was_typed(word):
    found = said(run("epd", word))
    assert list(found) == [word]
    assert "is wanted" in found[word]


def test_a_package_that_is_not_there_is_installed_with_an_extra(monkeypatch):
    found = sources._top_level
    monkeypatch.setattr(sources, "_top_level", lambda name: None if name == "pytorch_optimizer" else found(name))
    message = said(run("ae", "optimizer=soap"))["optimizer.algorithm._target_"]
    assert message.endswith("there is no module pytorch_optimizer. pip install 'autocast[soap]'.")


def test_one_word_may_have_several_problems_and_each_is_told_once():
    composition = run("train-eval", "trainer.max_epocs=3", "::eval::", "eval.bogus=1", "eval.n_members=x")
    assert [p.subject for p in composition.problems] == ["trainer.max_epocs=3", "eval.bogus=1", "eval.n_members=x"]


def test_short_forms_choose_options():
    config = config_of("epd", "model.processor=vit", "model.encoder=dc", "model.decoder=dc")
    assert config["model"]["processor"]["backbone"]["_target_"] == "autocast.nn.vit.ViT"
    assert config["model"]["encoder"]["_target_"].endswith("DeepCompressionEncoder")
    assert config["model"]["decoder"]["_target_"].endswith("DeepCompressionDecoder")


def test_an_objective_is_chosen_by_its_name_alone():
    words = ("model.bottleneck=gaussian", "model.objective.weights.kl.weight=0.01")
    config = config_of("ae", "objective=vae", *words)
    assert config == config_of("ae", "model.objective=vae", *words)
    assert config["model"]["objective"]["weights"]["kl"]["weight"] == 0.01
    assert list(said(run("ae", "objective=vaee"))) == ["objective=vaee"]
    assert list(said(run("epd", "objective=vae"))) == ["objective=vae"]


def test_parts_inside_parts_can_be_chosen_and_set():
    config = config_of(
        "epd", "model.processor=direct", "model.processor.backbone=vit", "model.processor.backbone.depth=2"
    )
    assert config["model"]["processor"]["backbone"]["depth"] == 2


def test_an_encoder_is_mirrored_unless_a_decoder_is_chosen():
    assert config_of("ae")["model"]["decoder"] is None
    assert config_of("ae", "model.decoder=null")["model"]["decoder"] is None


@pytest.mark.parametrize(
    ("word", "subject"),
    [("trainer=null", "trainer"), ("~model", "model"), ("~datamodule", "datamodule"), ("seed=???", "seed=???")],
)
def test_a_section_that_is_taken_away_is_missed(word, subject):
    assert list(said(run("ae", word))) == [subject]


@pytest.mark.parametrize("text", ["a: [1\n", "# @package _global_\ndefaults:\n  - override /nothing: x\n", "- 1\n"])
def test_a_broken_config_of_the_users_is_a_problem(workplace, text):
    (workplace / "more" / "preset").mkdir(parents=True)
    (workplace / "more" / "preset" / "broken.yaml").write_text(text)
    assert run("ae", preset="broken", config_dir=workplace / "more").problems


def test_a_key_that_a_constructor_takes_needs_no_plus():
    assert config_of("ae", "trainer.overfit_batches=1")["trainer"]["overfit_batches"] == 1
    assert config_of("ae", "trainer.val_check_interval=0.5")["trainer"]["val_check_interval"] == 0.5


def test_what_the_data_complete_cannot_be_set():
    assert "model.encoder.spec=3" in said(run("ae", "model.encoder.spec=3"))


def test_adding_forcing_and_deleting():
    words = [
        "+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping",
        "+callbacks.stop.monitor=val/objective",
    ]
    config = config_of("ae", *words, "~callbacks.ema", "++trainer.max_epochs=3")
    assert config["callbacks"] == {
        "stop": {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/objective"}
    }
    assert config["trainer"]["max_epochs"] == 3


def test_what_a_constructor_must_have_is_missed():
    found = said(run("ae", "+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping"))
    assert list(found) == ["callbacks.stop.monitor"]


def test_several_options_of_a_group_are_merged():
    assert set(config_of("ae", "logging=[wandb,tensorboard]")["logging"]) == {"wandb", "tensorboard"}


def test_the_config_holds_no_references():
    assert "${" not in yaml.safe_dump(config_of("ae", "logging=wandb"))


def test_the_last_of_several_words_about_one_key_wins():
    config = config_of("epd", "model.processor=vit", "processor@model.processor=ensemble", "seed=1", "seed=2")
    assert config["model"]["processor"]["_target_"].endswith("Ensemble")
    assert config["seed"] == 2


def test_a_reference_that_leads_nowhere_is_a_problem_and_no_other_follows():
    assert list(said(run("ae", "trainer.max_epochs=${nowhere.at.all}"))) == ["trainer.max_epochs=${nowhere.at.all}"]


def test_a_secret_never_enters_the_config(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    composition = run("ae", "eval.name=${oc.env:WANDB_API_KEY}")
    assert "secret" in said(composition)["eval.name=${oc.env:WANDB_API_KEY}"]
    composition = run("ae", "eval.n_members=${oc.env:WANDB_API_KEY}")
    assert "0123456789abcdef" not in f"{composition.problems} {OmegaConf.to_yaml(composition.config)}"


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("+logging.wandb.settings={api_key: zzz-zzz}", "logging.wandb.settings.api_key"),
        ("+logging.wandb.settings={a: [{password: zzz-zzz}]}", "logging.wandb.settings.a[0].password"),
        ("+logging.wandb.settings={token: [zzz-zzz]}", "logging.wandb.settings.token"),
    ],
)
def test_a_secret_inside_a_value_is_refused_and_not_repeated(word, key):
    composition = run("ae", "logging=wandb", word)
    assert [f"{key}: A secret never" in problem.message for problem in composition.problems] == [True]
    assert "in the environment or in .env" in composition.problems[0].message
    assert "zzz" not in f"{composition.problems} {OmegaConf.to_yaml(composition.config)}"


def test_the_value_of_a_secret_variable_is_refused_and_not_repeated(monkeypatch):
    monkeypatch.setenv("MY_API_TOKEN", "abcdef123456")
    composition = run("ae", "logging=wandb", "logging.wandb.entity=my-abcdef123456")
    assert ["MY_API_TOKEN" in problem.message for problem in composition.problems] == [True]
    assert "abcdef123456" not in f"{composition.problems} {OmegaConf.to_yaml(composition.config)}"


def test_a_secret_in_a_config_of_the_users_own_is_refused(workplace):
    (workplace / "mine" / "logging").mkdir(parents=True)
    leaf = {"_target_": "lightning.pytorch.loggers.WandbLogger", "api_key": "zzz-zzz"}
    (workplace / "mine" / "logging" / "ours.yaml").write_text(yaml.safe_dump({"ours": leaf}))
    composition = run("ae", "logging=ours", config_dir=workplace / "mine")
    assert "A secret never enters" in said(composition)["logging.ours.api_key"]
    assert "zzz" not in f"{composition.problems} {OmegaConf.to_yaml(composition.config)}"


def test_names_that_only_look_like_secrets_are_left_alone():
    words = ("logging=wandb", "+logging.wandb.settings={n_tokens: 5, monkey: x, keyboard: y, key_dim: 3, d_key: 64}")
    assert config_of("ae", *words)["logging"]["wandb"]["settings"]["monkey"] == "x"


def test_a_target_outside_the_allowed_packages_is_a_problem():
    found = said(run("ae", "trainer._target_=os.system"))
    assert "AUTOCAST_TARGETS" in found["trainer._target_=os.system"]


def test_classes_from_outside_the_repository(workplace, monkeypatch):
    (workplace / "ours").mkdir()
    (workplace / "ours" / "__init__.py").write_text("from ours.model import Mine\nraise RuntimeError('imported')\n")
    (workplace / "ours" / "model.py").write_text("class Mine:\n    def __init__(self, spec, *, width: int = 3): ...\n")
    (workplace / "my_configs" / "processor").mkdir(parents=True)
    file = workplace / "my_configs" / "processor" / "mine.yaml"
    file.write_text("_target_: ours.Mine\n_partial_: true\nwidth: 4\n")
    own = {"config_dir": workplace / "my_configs"}
    assert "AUTOCAST_TARGETS" in said(run("epd", "model.processor=mine", **own))["model.processor._target_"]
    monkeypatch.setenv("AUTOCAST_TARGETS", "ours")
    composition = run("epd", "model.processor=mine", "model.processor.width=5", **own)
    assert not composition.problems
    assert composition.targets == ("ours",)
    assert composition.config.model.processor.width == 5
    assert list(said(run("epd", "model.processor=mine", "model.processor.widht=5", **own))) == [
        "model.processor.widht=5"
    ]


def test_own_configs_by_the_environment(workplace, monkeypatch):
    (workplace / "more" / "preset").mkdir(parents=True)
    (workplace / "more" / "preset" / "tiny.yaml").write_text("# @package _global_\nseed: 7\ntrainer: {max_epochs: 2}\n")
    monkeypatch.setenv("AUTOCAST_CONFIG_PATH", str(workplace / "more"))
    config = config_of("ae", preset="tiny")
    assert (config["seed"], config["trainer"]["max_epochs"]) == (7, 2)
    assert config_of("ae", "preset=tiny", "seed=8")["seed"] == 8


def test_own_configs_cannot_hide_those_of_the_package(workplace):
    (workplace / "more" / "encoder").mkdir(parents=True)
    (workplace / "more" / "encoder" / "dc.yaml").write_text("_target_: a.B\n")
    found = said(run("ae", config_dir=workplace / "more"))
    assert list(found) == [str(workplace / "more" / "encoder" / "dc.yaml")]
    assert "--config-dir" in next(iter(said(run("ae", config_dir=workplace / "nowhere"))))


def test_an_unknown_key_in_an_own_config_is_found(workplace):
    (workplace / "more" / "preset").mkdir(parents=True)
    (workplace / "more" / "preset" / "typo.yaml").write_text("# @package _global_\ntrainer: {max_epocs: 2}\n")
    assert list(said(run("ae", preset="typo", config_dir=workplace / "more"))) == ["trainer.max_epocs"]


def test_a_preset_that_is_not_there_or_does_not_fit_is_a_problem():
    assert "There are:" in said(run("epd", preset="nope"))["--preset nope"]
    assert "does not fit" in said(run("ae", preset="crps"))["--preset crps"]


def test_overrides_win_over_presets():
    config = config_of("epd", "model.processor=vit", preset="crps")
    assert config["model"]["processor"]["_target_"].endswith("Direct")


def test_overrides_after_the_token_go_to_the_evaluation_only():
    words = ("trainer.max_epochs=1", "::eval::", "eval.batch_indices=[0,1]", "datamodule.batch_size=5")
    composition = run("train-eval", *words)
    assert not composition.problems
    assert composition.overrides == ("trainer.max_epochs=1",)
    assert composition.eval_overrides == words[2:]
    assert list(composition.config.eval.batch_indices) == [0]
    assert list(composition.eval_config.eval.batch_indices) == [0, 1]
    assert composition.eval_config.datamodule.batch_size == 5
    assert composition.config.datamodule.batch_size != 5


def test_choices_after_the_token_replace_whole_sections():
    composition = run("train-eval", "::eval::", "model.processor.sampler=heun", "model.processor.sampler.n_steps=9")
    assert not composition.problems
    sampler = composition.eval_config.model.processor.sampler
    assert (sampler._target_.rpartition(".")[2], sampler.n_steps) == ("Heun", 9)


def test_the_token_is_for_train_eval():
    assert "::eval::" in said(run("epd", "::eval::", "eval.n_members=2"))


def test_the_run_directory_of_hydra_is_the_workdir():
    composition = run("ae", "hydra.run.dir=outputs/autoencoder_v1")
    assert composition.workdir == Path("outputs/autoencoder_v1")
    both = run("ae", "hydra.run.dir=a", workdir=Path("b"))
    assert list(said(both)) == ["hydra.run.dir=a"]


def test_checks_that_could_not_run_are_named(workplace, monkeypatch):
    (workplace / "ours.py").write_text("made = type('Made', (), {})\n")
    monkeypatch.setenv("AUTOCAST_TARGETS", "ours")
    composition = run("ae", "+callbacks.mine._target_=ours.made", "+callbacks.mine.anything=1")
    assert not composition.problems
    assert "ours.made" in composition.unchecked[0]


def test_composing_imports_neither_torch_nor_lightning():
    code = """
        import sys
        from autocast.runs.compose import compose
        from autocast.runs.request import Request
        assert not compose(Request("epd", dataset="reaction_diffusion")).problems
        import autocast.runs.build
        print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "lightning", "pandas"}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


GUIDE = [
    ("ae", "optimizer.learning_rate=0.001", "trainer.max_epochs=50", "datamodule.batch_size=32"),
    ("epd", "model.processor=vit"),
    ("epd", "encoder@model.encoder=permute_concat"),
    ("ae", "hydra.run.dir=outputs/my_experiment/version_1"),
    (
        "ae",
        "hydra.run.dir=outputs/autoencoder_v1",
        "datamodule=reaction_diffusion",
        "model.encoder=dc",
        "model.decoder=dc",
    ),
    ("epd", "hydra.run.dir=outputs/processor_v1", "datamodule=reaction_diffusion", "model.processor=flow_matching"),
    (
        "epd",
        "eval.checkpoint=null",
        'eval.metrics=["mse", "rmse"]',
        "eval.video_dir=videos",
        "eval.batch_indices=[0,1]",
    ),
    ("epd", "decoder@model.decoder=channels_last", "encoder@model.encoder=permute_concat"),
    ("epd", "datamodule.n_steps_input=4", "datamodule.n_steps_output=2", "optimizer=adam"),
]


@pytest.mark.parametrize("words", GUIDE)
def test_what_the_guide_types_composes(words):
    assert not run(*words).problems


def test_a_key_that_another_constructor_does_not_have_can_be_left_out(tmp_path):
    key = "model.objective.weights.kl"
    words = (f"datamodule.data_path={tmp_path}", f"{key}._target_=autocast.losses.annealing.Cyclical")
    (problem,) = compose(Request("ae", (*words, f"+{key}.period=1000"), preset="vae")).problems
    assert problem.subject == f"{key}.warmup"
    remedy = problem.message.removeprefix("no such key. There are: weight, period. To leave it out: ")
    assert remedy == f"~{key}.warmup"
    assert not compose(Request("ae", (*words, f"+{key}.period=1000", remedy), preset="vae")).problems
