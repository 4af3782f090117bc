"""Signatures of constructors and functions, read from their source files without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from autocast.runs.sources import Definition, Found, Sources, definition_in, dotted_name

UNKNOWN_DEFAULT = ast.Constant(value=...)
"""Stands for a default that is made at run time."""


@dataclass(frozen=True)
class Parameter:
    name: str
    annotation: ast.expr | None
    default: ast.expr | None

    @property
    def required(self) -> bool:
        return self.default is None


@dataclass(frozen=True)
class Signature:
    """The keywords that a target takes."""

    parameters: dict[str, Parameter]
    is_open: bool = False
    """Takes any keyword (`**kwargs`)."""

    def settable(self, leaf: Mapping[str, Any]) -> list[str]:
        """The keywords that a config may set: what a `_partial_` leaf leaves to be completed is not among them."""
        is_partial = "_partial_" in leaf and leaf["_partial_"]
        return [name for name, p in self.parameters.items() if not (is_partial and p.required and name not in leaf)]


@dataclass
class Signatures:
    """Reads signatures, each at most once."""

    sources: Sources = field(default_factory=Sources)
    _known: dict[str, Signature] = field(default_factory=dict)

    def read(self, target: str) -> Signature:
        """The signature of a class or function by its dotted name.

        Raises:
            NoSuchTargetError: Nothing has that name.
            NoSourceError: It is defined where no source can be read (compiled, made at run time).
        """
        if target not in self._known:
            self._known[target] = self._of(self.sources.find(target))
        return self._known[target]

    def _of(self, found: Found) -> Signature:
        node = found.node
        if not isinstance(node, ast.ClassDef):
            is_method = found.owner is not None and "staticmethod" not in _decorators(node)
            return _of_function(node, is_method=is_method)
        constructor = definition_in(node, "__init__")
        if constructor is not None:
            own = _of_function(constructor, is_method=True)
            return self._with_inherited(own, found) if own.is_open else own
        if _is_dataclass(node):
            return Signature(self._dataclass_fields(found))
        parent = next(self._parents(found), None)
        if parent is not None:
            return self._of(parent)
        constructor = definition_in(node, "__new__")
        if constructor is not None:
            return _of_function(constructor, is_method=True)
        return Signature({}, is_open=bool(node.bases))  # an unreadable parent may take anything

    def _with_inherited(self, own: Signature, found: Found) -> Signature:
        """`**kwargs` of a constructor are most often its parent's keywords."""
        parent = next(self._parents(found), None)
        inherited = self._of(parent).parameters if parent else {}
        optional = {name: Parameter(name, p.annotation, p.default or UNKNOWN_DEFAULT) for name, p in inherited.items()}
        return Signature({**optional, **own.parameters}, is_open=True)

    def _parents(self, found: Found) -> Iterator[Found]:
        assert isinstance(found.node, ast.ClassDef)
        for base in found.node.bases:
            name = dotted_name(base.value if isinstance(base, ast.Subscript) else base)
            if name and name.split(".")[-1] not in ("object", "ABC", "Protocol", "Generic"):
                parent = self.sources.parent(found, name)
                if parent is not None:
                    yield parent

    def _dataclass_fields(self, found: Found) -> dict[str, Parameter]:
        fields: dict[str, Parameter] = {}
        for parent in reversed([p for p in self._parents(found) if _is_dataclass(p.node)]):
            fields |= self._dataclass_fields(parent)
        for statement in found.node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                name = statement.target.id
                if _is_constructor_field(statement):
                    fields[name] = Parameter(name, statement.annotation, _field_default(statement))
        return fields


def _of_function(node: Definition, *, is_method: bool) -> Signature:
    assert not isinstance(node, ast.ClassDef)
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = list(zip(positional, [*defaults, *arguments.defaults], strict=True))[1 if is_method else 0 :]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    parameters = {a.arg: Parameter(a.arg, a.annotation, default) for a, default in pairs}
    return Signature(parameters, is_open=arguments.kwarg is not None)


def _decorators(node: Definition) -> list[str]:
    calls = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return [name.split(".")[-1] for d in calls if (name := dotted_name(d))]


def _is_dataclass(node: Definition) -> bool:
    return isinstance(node, ast.ClassDef) and "dataclass" in _decorators(node)


def _is_constructor_field(statement: ast.AnnAssign) -> bool:
    annotation = statement.annotation.value if isinstance(statement.annotation, ast.Subscript) else statement.annotation
    if (dotted_name(annotation) or "").split(".")[-1] in ("ClassVar", "KW_ONLY"):
        return False
    init = _field_keywords(statement).get("init")
    return not (isinstance(init, ast.Constant) and init.value is False)


def _field_default(statement: ast.AnnAssign) -> ast.expr | None:
    """The default of a dataclass field; None where it has none."""
    if not _is_field_call(statement.value):
        return statement.value
    keywords = _field_keywords(statement)
    return keywords.get("default") or (UNKNOWN_DEFAULT if "default_factory" in keywords else None)


def _field_keywords(statement: ast.AnnAssign) -> dict[str | None, ast.expr]:
    call = statement.value
    return {k.arg: k.value for k in call.keywords} if isinstance(call, ast.Call) and _is_field_call(call) else {}


def _is_field_call(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Call) and (dotted_name(node.func) or "").split(".")[-1] == "field"
