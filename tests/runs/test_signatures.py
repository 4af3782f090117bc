"""Signatures are read from source, through every kind of detour, and nothing is imported."""

import subprocess
import sys
import textwrap

import pytest

from autocast.runs.signatures import Signatures
from autocast.runs.sources import NoSourceError, NoSuchTargetError, Sources


@pytest.fixture
def package(tmp_path):
    """A package that fails when it is imported."""

    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("raise RuntimeError('imported')\n" + textwrap.dedent(text))

    write(
        "shop/__init__.py",
        "from .parts import Wheel as Round, Cart\nfrom shop.tools.hammer import *\nimport shop.tools\n",
    )
    write(
        "shop/parts.py",
        """
        from dataclasses import dataclass, field
        from typing import ClassVar
        from . import tools
        from .tools.base import Base

        class Wheel(Base):
            pass

        class Cart(tools.base.Base):
            def __init__(self, n_wheels: int = 4, **kwargs): ...
            class Axle:
                def __init__(self, length): ...
            @classmethod
            def empty(cls, colour="red"): ...
            @staticmethod
            def build(size): ...

        @dataclass
        class Parent:
            name: str

        @dataclass(frozen=True)
        class Child(Parent):
            kinds: ClassVar[int] = 3
            sizes: list[int] = field(default_factory=list)
            hidden: int = field(init=False)

        Alias = Cart
        made = type("Made", (), {})
        """,
    )
    write("shop/tools/__init__.py", "")
    write("shop/tools/hammer.py", "def hit(nail, *, times=1): ...\n")
    write("shop/tools/base.py", "class Base:\n    def __init__(self, radius: float, spokes: int = 3): ...\n")
    write("loop/__init__.py", "from loop.a import x\n")
    write("loop/a.py", "from loop.b import x\n")
    write("loop/b.py", "from loop.a import x\n")
    return Signatures(Sources(extra_paths=(str(tmp_path),)))


@pytest.mark.parametrize(
    ("target", "parameters"),
    [
        ("shop.parts.Wheel", ["radius", "spokes"]),
        ("shop.Round", ["radius", "spokes"]),
        ("shop.hit", ["nail", "times"]),
        ("shop.tools.hammer.hit", ["nail", "times"]),
        ("shop.Cart", ["radius", "spokes", "n_wheels"]),
        ("shop.parts.Alias", ["radius", "spokes", "n_wheels"]),
        ("shop.Cart.Axle", ["length"]),
        ("shop.Cart.empty", ["colour"]),
        ("shop.Cart.build", ["size"]),
        ("shop.parts.Child", ["name", "sizes"]),
    ],
)
def test_keywords_are_found_behind_detours(package, target, parameters):
    assert list(package.read(target).parameters) == parameters


def test_what_must_be_given_is_known(package):
    required = {name: p.required for name, p in package.read("shop.parts.Child").parameters.items()}
    assert required == {"name": True, "sizes": False}
    assert package.read("shop.parts.Wheel").parameters["radius"].required


def test_a_parent_behind_kwargs_is_followed_and_leaves_the_signature_open(package):
    signature = package.read("shop.Cart")
    assert signature.is_open
    assert not signature.parameters["radius"].required


@pytest.mark.parametrize(
    ("target", "missing"),
    [("shop.Karte", "Karte"), ("nowhere.X", "nowhere"), ("shop.Cart.Axel", "Axel"), ("shop.tools", "shop.tools")],
)
def test_a_name_that_is_not_there_says_which_part(package, target, missing):
    with pytest.raises(NoSuchTargetError) as raised:
        package.read(target)
    assert raised.value.missing == missing


@pytest.mark.parametrize("target", ["shop.parts.made", "loop.x"])
def test_what_has_no_source_is_told_apart_from_what_is_not_there(package, target):
    with pytest.raises(NoSourceError):
        package.read(target)


@pytest.mark.parametrize(
    ("target", "keyword"),
    [
        ("torch.optim.AdamW", "weight_decay"),
        ("torch.optim.lr_scheduler.CosineAnnealingLR", "T_max"),
        ("torch.nn.SiLU", "inplace"),
        ("lightning.pytorch.Trainer", "max_epochs"),
        ("lightning.pytorch.callbacks.EMAWeightAveraging", "decay"),
        ("lightning.pytorch.callbacks.EarlyStopping", "patience"),
        ("lightning.pytorch.loggers.WandbLogger", "project"),
    ],
)
def test_foreign_targets_are_read(target, keyword):
    assert keyword in Signatures().read(target).parameters


def test_a_misspelt_foreign_target_is_found():
    with pytest.raises(NoSuchTargetError):
        Signatures().read("lightning.pytorch.Trainr")


def test_reading_imports_neither_torch_nor_lightning():
    code = """
        import sys
        from autocast.runs.signatures import Signatures
        for target in ("torch.optim.AdamW", "lightning.pytorch.Trainer"):
            Signatures().read(target)
        print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "lightning"}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
