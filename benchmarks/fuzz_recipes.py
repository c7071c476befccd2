"""Read 1,000 mutated recipes and 100 extreme --set values: each is built or refused in one line, under 2 s of CPU."""

import argparse
import contextlib
import io
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz_process import run_cases
from benchmarks.fuzz_texts import KILL_S, another, change_recipe, one_thread, report, scramble, summarise

N_SETTINGS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument("--cases", type=int, default=1000, help="recipes; a tenth as many --set values are added")


def run(arguments: argparse.Namespace) -> int:
    """Run the cases, print what went wrong and the counts, and return 0 when nothing did."""
    one_thread()
    n = arguments.cases + max(1, arguments.cases * N_SETTINGS // 1000)
    cases = range(n) if arguments.only is None else [arguments.only]
    outcomes = run_cases("benchmarks.fuzz_recipes:reader", (arguments.seed, arguments.cases), cases, KILL_S, 4.0)
    return summarise(outcomes, "recipes and settings", arguments.only is not None)


def mutated(seed: int, case: int) -> tuple[str, str]:
    """Make a TOML recipe, and say what was done to it."""
    from soundscene.recipe import Recipe

    draw = np.random.default_rng([seed, case])
    tree = (Recipe(), Recipe.small(), Recipe.paper())[case % 3].to_dict()
    kind = draw.random()
    what = change_recipe(tree, draw) if kind < 0.75 else ""
    text = 'base = "small"\n' if draw.random() < 0.3 else ""
    for section, values in tree.items():
        text += f"[{section}]\n" + "".join(f"{name} = {_toml(value)}\n" for name, value in values.items())
    if kind > 0.85:
        at = text.index("\n", int(draw.integers(len(text) - 1))) + 1
        size = int(draw.integers(2, 10**4))
        deep = (
            "x = " + "[" * size,
            "x = " + "9" * size,
            "x = " + "{a=" * size,
            'x = """',
            "a." * size,
            "[" + "a." * size + "a]\n",
        )
        text, what = text[:at] + deep[draw.integers(len(deep))] + text[at:], f"deep or long at {at}"
    elif kind > 0.75:
        text, what = scramble(text, draw)
    return text, what


def setting(seed: int, case: int) -> str:
    """Make the text of a --set option."""
    from soundscene.recipe import Recipe

    draw = np.random.default_rng([seed, case, 1])
    tree = Recipe().to_dict()
    section = list(tree)[case % len(tree)]
    names = list(tree[section])
    name = names[draw.integers(len(names))]
    text = f"{section}.{name}={_toml(another(tree[section][name], draw))}"
    return scramble(text, draw)[0] if draw.random() < 0.2 else text


def reader(seed: int, n_recipes: int) -> Callable[[int], str]:
    """Return the function that reads a recipe, and builds front-end and network of one that is accepted."""
    from soundscene.cli.app import main
    from soundscene.network.models import build_network
    from soundscene.recipe import Recipe
    from soundscene.signal.frontend import FrontEnd

    path = Path(tempfile.mkdtemp(prefix="fuzz-")) / "recipe.toml"

    def build(recipe: Recipe) -> str:
        FrontEnd(recipe.audio, recipe.features, recipe.training.segment_hop_s)
        network = build_network(recipe, 10)
        return "" if all(p.isfinite().all() for p in network.parameters()) else "a new network is not finite"

    def read(case: int) -> str:
        if case < n_recipes:
            text, done = mutated(seed, case)
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
            return report(done, lambda: build(Recipe.load(str(path))))
        text = setting(seed, case)
        words = ["train", "/absent.csv", "--out", str(path.with_name("m.safetensors")), "--set", text]
        return report(text[:80], lambda: build(Recipe.small().with_settings([text])) or _said(main, words))

    build(Recipe.small())  # warm, as is the command line
    _said(main, ["train", "/absent.csv", "--out", str(path.with_name("m.safetensors"))])
    return read


def _said(main: Callable[[list[str]], None], words: list[str]) -> str:
    """What the command line says: one line, and exit code 2, because the manifest is absent."""
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream), contextlib.suppress(SystemExit):
        main(words)
    return f"no output: {words}" if "Traceback" in stream.getvalue() else ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)
