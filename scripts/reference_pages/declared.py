"""Classes and functions as their source has them: fields with the strings below them, signatures, docstrings."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """A field of a class, or a member of an enum."""

    name: str
    type: str
    default: str | None
    what: str
    """The string below it, or nothing."""


def fields(cls: type) -> list[Field]:
    """In the order of the source; private ones and pydantic's own settings are left out."""
    found = []
    body = _class(cls).body
    for at, node in enumerate(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, kind, value = node.target.id, ast.unparse(node.annotation), node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, kind, value = node.targets[0].id, "", node.value
        else:
            continue
        if name == "model_config" or name.startswith("_"):
            continue
        below = body[at + 1] if at + 1 < len(body) else None
        found.append(Field(name, kind, _default(value), _string(below)))
    return found


def doc(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def signature(function: Callable[..., Any], name: str) -> str:
    """On one line where it fits, else an argument a line."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    arguments = list(_arguments(node.args))
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= 100:
        return line
    return f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){returns}"


def _arguments(given: ast.arguments) -> Iterator[str]:
    plain = [argument for argument in given.args if argument.arg != "self"]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    for argument, default in zip(plain, defaults, strict=True):
        yield _argument(argument, default)
    if given.kwonlyargs:
        yield "*"
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _argument(argument, default)


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation is not None else ""
    return f"{argument.arg}{kind}" + (f" = {ast.unparse(default)}" if default is not None else "")


def _class(cls: type) -> ast.ClassDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(node, ast.ClassDef)
    return node


def _default(value: ast.expr | None) -> str | None:
    if value is None:
        return None
    return (
        "when it is written"
        if isinstance(value, ast.Call) and "default_factory" in ast.unparse(value)
        else (ast.unparse(value))
    )


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(inspect.cleandoc(node.value.value).split())
    return ""
