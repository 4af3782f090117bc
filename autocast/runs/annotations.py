"""Whether a plain value of a config fits a type annotation, as far as the annotation's text can tell."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from autocast.runs.signatures import Parameter
from autocast.runs.sources import dotted_name

NUMBERS = {"int": (int,), "float": (int, float), "complex": (int, float, complex)}
SEQUENCES = ("list", "List", "tuple", "Tuple", "Sequence", "Iterable", "Collection", "set", "Set", "MutableSequence")
MAPPINGS = ("dict", "Dict", "Mapping", "MutableMapping")
LEAF = "Leaf"
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "None": "null",
    LEAF: "a section with _target_",
}
NONE = ast.Constant(value=None)
PATHS = ("Path", "PathLike", "_PATH")


def mismatch(value: Any, parameter: Parameter) -> str | None:
    """What a parameter wants instead of `value`; None where the value fits or nothing is known.

    A mapping with `_target_` fits everything: it stands for what it constructs. So does what is not known yet: a
    missing value, or a reference that leads nowhere.
    """
    if is_undecided(value):
        return None
    if parameter.annotation is None:
        return _mismatch_with_default(value, parameter.default)
    if value is None and _is_none(parameter.default):
        return None
    return None if fits(value, parameter.annotation) else f"{in_words(parameter.annotation)} is wanted"


def is_undecided(value: Any) -> bool:
    """Whether it stands for what it constructs, is missing, or is a reference that leads nowhere."""
    return _is_leaf(value) or value == "???" or (isinstance(value, str) and "${" in value)


def entry_type(annotation: ast.expr | None) -> ast.expr | None:
    """`int` of `dict[str, int]`."""
    if not isinstance(annotation, ast.Subscript) or not isinstance(annotation.slice, ast.Tuple):
        return None
    return annotation.slice.elts[-1] if (dotted_name(annotation.value) or "").split(".")[-1] in MAPPINGS else None


def fits(value: Any, annotation: ast.expr) -> bool:
    """Whether `value` is of the annotated type; a type that is not known fits everything."""
    if isinstance(annotation, ast.Constant):
        return _fits_constant(value, annotation.value)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return fits(value, annotation.left) or fits(value, annotation.right)
    name = (dotted_name(annotation) or "").split(".")[-1]
    if name:
        return _fits_name(value, name)
    return _fits_generic(value, annotation) if isinstance(annotation, ast.Subscript) else True


def _fits_constant(value: Any, annotation: Any) -> bool:
    if annotation is None:
        return value is None
    return fits(value, ast.parse(annotation, mode="eval").body) if isinstance(annotation, str) else True


def _fits_name(value: Any, name: str) -> bool:
    if name in NUMBERS:
        return isinstance(value, NUMBERS[name]) and not isinstance(value, bool)
    if name in ("bool", "str"):
        return isinstance(value, {"bool": bool, "str": str}[name])
    if name in PATHS:
        return value is None or isinstance(value, str)
    if name in SEQUENCES:
        return _is_sequence(value)
    if name in (*MAPPINGS, LEAF):
        return _is_leaf(value) if name == LEAF else isinstance(value, Mapping)
    return not (name == "Callable" and isinstance(value, str | int | float | bool))


def _fits_generic(value: Any, annotation: ast.Subscript) -> bool:
    name = (dotted_name(annotation.value) or "").split(".")[-1]
    inner = annotation.slice
    arguments = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
    if name in ("Optional", "Union"):
        return (name == "Optional" and value is None) or any(fits(value, a) for a in arguments)
    if name == "Literal":
        return any(_same(value, a.value) for a in arguments if isinstance(a, ast.Constant))
    if name in ("Annotated", "Final"):
        return fits(value, arguments[0])
    if name in SEQUENCES:
        return _is_sequence(value) and _fit_elements(value, arguments, fixed=name in ("tuple", "Tuple"))
    if name in MAPPINGS:
        return isinstance(value, Mapping) and all(fits(v, arguments[-1]) for v in value.values() if not _is_leaf(v))
    return _fits_name(value, name)


def _fit_elements(values: Sequence[Any], types: list[ast.expr], *, fixed: bool) -> bool:
    """Elements of a sequence; `tuple[int, str]` has as many as it names, `tuple[int, ...]` any number."""
    if fixed and not (isinstance(types[-1], ast.Constant) and types[-1].value is ...):
        return len(values) == len(types) and all(map(fits, values, types))
    return all(fits(v, types[0]) for v in values if not _is_leaf(v))


def _mismatch_with_default(value: Any, default: ast.expr | None) -> str | None:
    """Without an annotation the default tells: a switch stays a switch and a number a number."""
    known = default.value if isinstance(default, ast.Constant) else None
    if isinstance(known, bool) and not isinstance(value, bool):
        return "true or false is wanted"
    is_number = isinstance(known, int | float) and not isinstance(known, bool)
    if is_number and not (value is None or isinstance(value, int | float)):
        return "a number is wanted"
    return None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_leaf(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _same(value: Any, other: Any) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def in_words(annotation: ast.expr) -> str:
    """`int | None` as `a whole number or null`; a type without a plain word as it is written."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return in_words(ast.parse(annotation.value, mode="eval").body)
    words = [WORDS.get(part, part) for part in map(ast.unparse, _alternatives(annotation))]
    return " or ".join(words)


def _alternatives(annotation: ast.expr) -> list[ast.expr]:
    if isinstance(annotation, ast.BinOp):
        return [*_alternatives(annotation.left), *_alternatives(annotation.right)]
    name = (dotted_name(annotation.value) or "").split(".")[-1] if isinstance(annotation, ast.Subscript) else ""
    if isinstance(annotation, ast.Subscript) and name in ("Optional", "Union", "Literal"):
        inner = annotation.slice
        arguments = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
        if name == "Literal":
            return arguments
        return [a for part in arguments for a in _alternatives(part)] + ([NONE] if name == "Optional" else [])
    return [annotation]
