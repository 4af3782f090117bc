"""Definitions found by their dotted names in source files, without importing anything."""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

MAX_HOPS = 20
"""Re-exports followed before giving up: more is a circle."""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class NoSuchTargetError(LookupError):
    """A dotted name that names nothing; `missing` is the part that is not there, `beside` what is there."""

    def __init__(self, message: str, missing: str, beside: Sequence[str] = ()):
        super().__init__(message)
        self.missing = missing
        self.beside = tuple(beside)


class NoSourceError(LookupError):
    """A dotted name whose definition is not in a Python source file: compiled, or made at run time."""


class Module:
    """The top level of one source file, `if` and `try` blocks included."""

    def __init__(self, name: str, file: Path | None):
        self.name = name
        self.file = file
        """None for a package without `__init__.py`, which binds no names."""
        self.is_package = file is None or file.name == "__init__.py"

    @cached_property
    def names(self) -> dict[str, ast.stmt]:
        """What each top-level name is bound by."""
        if self.file is None:
            return {}
        stat = self.file.stat()
        return _names_in(self.file, (stat.st_mtime_ns, stat.st_size))

    @property
    def stars(self) -> list[str]:
        """Modules that this one imports everything from."""
        statements = (s for name, s in self.names.items() if name.startswith("*"))
        return [self.absolute(s) for s in statements if isinstance(s, ast.ImportFrom)]

    def absolute(self, statement: ast.ImportFrom) -> str:
        """The module that a `from ... import` means."""
        if not statement.level:
            return statement.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - statement.level + (1 if self.is_package else 0)]
        return ".".join([*kept, *([statement.module] if statement.module else [])])


@dataclass(frozen=True)
class Found:
    """A definition, the module that it stands in, and the class around it."""

    node: Definition
    module: Module
    owner: ast.ClassDef | None = None


@dataclass
class Sources:
    """Reads definitions, each source file at most once."""

    extra_paths: tuple[str, ...] = ()
    """Directories searched after `sys.path`."""
    _modules: dict[str, Module | None] = field(default_factory=dict)

    def find(self, target: str) -> Found:
        """The definition that a dotted name leads to, through packages, re-exports and classes.

        Raises:
            NoSuchTargetError: Nothing has that name.
            NoSourceError: It is defined where no source can be read.
        """
        parts = target.split(".")
        top = self.module(parts[0])
        if top is None:
            raise NoSuchTargetError(f"there is no module {parts[0]}", parts[0])
        return self._descend(top, parts[1:], MAX_HOPS)

    def module(self, name: str) -> Module | None:
        """The source of a module; None where there is no such module."""
        if name not in self._modules:
            spec = self._spec(name)
            self._modules[name] = _source(name, spec) if spec else None
        return self._modules[name]

    def parent(self, found: Found, base: str) -> Found | None:
        """The base class that `found` calls `base`, where its source can be read."""
        try:
            parent = self._follow(found.module, base.split("."), MAX_HOPS)
        except LookupError:
            return None
        return parent if isinstance(parent.node, ast.ClassDef) else None

    def _spec(self, name: str) -> ModuleSpec | None:
        parent, _, last = name.rpartition(".")
        if not parent:
            return _top_level(last) or PathFinder.find_spec(last, list(self.extra_paths))
        package = self._spec(parent)
        locations = package.submodule_search_locations if package else None
        return PathFinder.find_spec(name, list(locations)) if locations else None

    def _descend(self, module: Module, attributes: list[str], hops: int) -> Found:
        """Submodules as far as they go, then names; the last attribute is rather a name than a submodule."""
        while attributes and (len(attributes) > 1 or attributes[0] not in module.names):
            deeper = self.module(f"{module.name}.{attributes[0]}")
            if deeper is None:
                break
            module, attributes = deeper, attributes[1:]
        if not attributes:
            raise NoSuchTargetError(f"{module.name} is a module, not a class or function", module.name)
        return self._follow(module, attributes, hops)

    def _follow(self, module: Module, attributes: list[str], hops: int) -> Found:
        name, rest = attributes[0], attributes[1:]
        statement = module.names.get(name)
        if hops == 0:
            raise NoSourceError(f"{module.name}.{name} is re-exported in a circle")
        if statement is None:
            return self._follow_stars(module, attributes, hops)
        if isinstance(statement, Definition):
            return _nested(Found(statement, module), rest)
        if isinstance(statement, ast.ImportFrom):
            original = next(a.name for a in statement.names if (a.asname or a.name) == name)
            return self._import(module.absolute(statement), [original, *rest], hops - 1)
        if isinstance(statement, ast.Import):
            alias = next(a for a in statement.names if name in (a.asname, a.name.split(".")[0]))
            return self._import(alias.name if alias.asname else name, rest, hops - 1)
        if isinstance(statement, ast.Assign) and (dotted := dotted_name(statement.value)):
            return self._follow(module, [*dotted.split("."), *rest], hops - 1)
        raise NoSourceError(f"{module.name}.{name} is made at run time")

    def _follow_stars(self, module: Module, attributes: list[str], hops: int) -> Found:
        """A name that the module does not bind itself: perhaps from `import *`."""
        hidden = "__getattr__" in module.names
        for star in module.stars:
            if self._spec(star) is None:  # an optional import of what is not there
                continue
            try:
                return self._import(star, attributes, hops - 1)
            except NoSuchTargetError:
                continue
            except NoSourceError:
                hidden = True
        if hidden:
            raise NoSourceError(f"{module.name}.{attributes[0]} is made at run time")
        known = [name for name in module.names if not name.startswith(("_", "*"))]
        raise NoSuchTargetError(f"there is no {attributes[0]} in {module.name}", attributes[0], known)

    def _import(self, name: str, attributes: list[str], hops: int) -> Found:
        module = self.module(name)
        if module is None:
            raise NoSourceError(f"{name} is not installed, or compiled")
        return self._descend(module, attributes, hops)


def dotted_name(node: ast.expr) -> str | None:
    """`a.b.c` of an expression that is one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (stem := dotted_name(node.value)):
        return f"{stem}.{node.attr}"
    return None


def definition_in(node: Definition, name: str) -> Definition | None:
    """A method or inner class."""
    if not isinstance(node, ast.ClassDef):
        return None
    definitions = [inner for inner in node.body if isinstance(inner, Definition) and inner.name == name]
    return definitions[-1] if definitions else None  # the last one: the others are overloads


def _top_level(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ValueError, ImportError):  # a module without a spec, as __main__ may be
        return None


def _source(name: str, spec: ModuleSpec) -> Module | None:
    if spec.origin and spec.origin.endswith(".py"):
        return Module(name, Path(spec.origin))
    return Module(name, None) if spec.submodule_search_locations else None


@functools.lru_cache(maxsize=256)
def _names_in(file: Path, stamp: tuple[int, int]) -> dict[str, ast.stmt]:  # noqa: ARG001
    """What each top-level name of a file as it was then is bound by; a definition wins over an import (as under
    `TYPE_CHECKING`). To parse a file takes milliseconds, and each composition looks at two dozen."""
    names: dict[str, ast.stmt] = {}
    for statement in _statements(ast.parse(file.read_bytes()).body):
        for name in _bound_names(statement):
            if not isinstance(names.get(name), Definition):
                names[name] = statement
    return names


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            yield from _statements([*statement.body, *statement.orelse])
        if isinstance(statement, ast.Try):
            yield from _statements([s for handler in statement.handlers for s in handler.body])


def _bound_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, Definition):
        return [statement.name]
    if isinstance(statement, ast.ImportFrom):
        origin = f"{'.' * statement.level}{statement.module or ''}"
        return [f"*{origin}" if a.name == "*" else a.asname or a.name for a in statement.names]
    if isinstance(statement, ast.Import):
        return [a.asname or a.name.split(".")[0] for a in statement.names]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return []


def _nested(found: Found, attributes: list[str]) -> Found:
    for name in attributes:
        inner = definition_in(found.node, name)
        if inner is None:
            beside = [n.name for n in found.node.body if isinstance(n, Definition)]
            raise NoSuchTargetError(f"there is no {name} in {found.module.name}.{found.node.name}", name, beside)
        owner = found.node if isinstance(found.node, ast.ClassDef) else None
        found = Found(inner, found.module, owner)
    return found
