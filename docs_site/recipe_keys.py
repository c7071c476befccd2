"""The page of recipe keys: allowed values, presets and remarks, all read from soundscene/recipe.py itself."""

import ast
import inspect
import io
import math
import tokenize
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.inspect import type_info

from docs_site.commands import escape
from soundscene import recipe as source
from soundscene.recipe import Recipe

PRESETS = {"default": Recipe(), "small": Recipe.small(), "paper": Recipe.paper()}


def recipe_page() -> str:
    """Return the Markdown of the page."""
    remarks = dict(_remarks())
    blocks = [
        "# Recipe keys",
        "Every number that decides what a model receives, how it is trained and how it predicts. `--set KEY=VALUE` changes "
        "one. `--recipe FILE` reads a TOML file with sections such as `[training]`, which may begin with the preset that it "
        'changes: `base = "small"`. An empty cell means: as in `default`.',
    ]
    for section in type_info(Recipe).fields:  # type: ignore[attr-defined]
        struct = section.type.cls
        title = " ".join((struct.__doc__ or "").split())
        rows = [_row(section.name, field, remarks[struct.__name__, field.name]) for field in type_info(struct).fields]  # type: ignore[attr-defined]
        head = ["| key | allowed | default | small | paper | remark |", "|---|---|---|---|---|---|"]
        target = f"```{{eval-rst}}\n.. py:class:: soundscene.recipe.{struct.__name__}\n\n   {title}\n```"
        blocks += [f"## {section.name}", target, "\n".join([*head, *rows])]
    blocks += ["## Values that decide something together", _together()]
    return "\n\n".join(blocks) + "\n"


def allowed(kind: Any) -> str:
    """Return the values that a key may have, in words.

    Args:
        kind: A type as `msgspec.inspect` describes it.
    """
    if isinstance(kind, msgspec.inspect.LiteralType):
        return ", ".join(map(str, kind.values))
    if isinstance(kind, msgspec.inspect.BoolType):
        return "true, false"
    if isinstance(kind, msgspec.inspect.TupleType):
        return f"{len(kind.item_types)} values, each {allowed(kind.item_types[0])}"
    lowest = number(kind.ge) if kind.ge is not None else f"above {number(kind.gt)}"
    highest = number(kind.le) if kind.le is not None else f"below {number(kind.lt)}"
    whole = ", whole" if isinstance(kind, msgspec.inspect.IntType) else ""
    return f"{lowest} to {highest}{whole}"


def number(value: float) -> str:
    """Return a number as one types it, small and large ones with an exponent.

    >>> number(0.0001), number(22050), number(2**63 - 1)
    ('0.0001', '22050', '2**63 - 1')
    """
    if value == 2**63 - 1:
        return "2**63 - 1"
    return f"{value:.0f}" if 1e5 <= value < 1e6 else f"{value:g}"


def _row(section: str, field: Any, remark: str) -> str:
    values = {name: _value(getattr(getattr(preset, section), field.name)) for name, preset in PRESETS.items()}
    shown = [f"`{values['default']}`"]
    shown += [f"`{values[name]}`" if values[name] != values["default"] else "" for name in ("small", "paper")]
    return f"| `{section}.{field.name}` | {escape(allowed(field.type))} | {' | '.join(shown)} | {escape(remark)} |"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return value if isinstance(value, str) else f"{value:g}"


def _together() -> str:
    rows = ["| what | default | allowed |", "|---|---|---|"]
    for name, value, least, most, _ in source._products(Recipe()):
        limits = f"{least:,.6g} or more" if most == math.inf else f"{least:,.6g} to {most:,.6g}"
        rows.append(f"| {escape(name)} | {value:,.6g} | {limits} |")
    return "\n".join(rows)


def _remarks() -> Iterator[tuple[tuple[str, str], str]]:
    """Yield (class, field) -> the comment beside the field."""
    text = inspect.getsource(source)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    lines = range(field.lineno, (field.end_lineno or field.lineno) + 1)
                    yield (node.name, field.target.id), " ".join(comments[line] for line in lines if line in comments)
