"""The shape of the package: what it exports, what importing it does, how long its files and functions are.

Each rule is one test, which lists all violations.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import soundscene

PACKAGE = Path(soundscene.__file__).parent
TREES = {
    str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))
}

# Exceptions, each with its reason.
LONG_FILES = {"report/tables.py"}  # over 400 lines, looked at twice: the tables of one report, a function each
# _track, and _frame, its graph: one recursion over frames, in the order of its reference; in two it would pass twenty
# arrays.
# The others: commands, whose options take several lines each.
LONG_FUNCTIONS = {"_track", "_frame", "experiment", "listen", "train"}
BASES = {  # networks are nn.Module, recipes msgspec's records, and errors one family that the command line can catch
    *("nn.Module", "Struct", "msgspec.Struct", "Exception", "UserWarning", "SceneError"),
    *("io.RawIOBase", "io.FileIO"),  # files of our own, which other libraries read and write
    "Compared",  # equality by value, which a dataclass with arrays cannot generate
    "list['ScenePrediction | SceneError']",  # predictions are a list with a data frame
    *("BaseEstimator", "ClassifierMixin", "TransformerMixin"),  # what scikit-learn's tools call
    "StandardScaler",  # scikit-learn's, with a floor
    "Protocol",  # what a backbone must have, which others may write
    *("H11Protocol", "uvicorn.Server"),  # uvicorn asks for them, and has no other way to limit a header or to drain
    "AudioError",  # of which an unknown format is a kind, with a status of its own over HTTP
    "TyperCommand",  # typer shows the words of a command line, before it makes paths of them, to a subclass only
    "torch.autograd.Function",  # PyTorch takes an operation with a gradient of its own as a subclass only
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_public_names() -> None:
    assert sorted(soundscene.__all__) == [
        "AudioError",
        "AudioWarning",
        "BackboneError",
        "BundleError",
        "ManifestError",
        "Predictions",
        "Predictor",
        "Recipe",
        "RecipeError",
        "SceneError",
        "ScenePrediction",
        "TrainingError",
        "__version__",
        "embed",
        "evaluate",
        "explain",
        "load",
        "predict",
        "scan",
        "timeline",
        "train",
    ]
    assert all(hasattr(soundscene, name) for name in soundscene.__all__)


IMPORT = """
import logging, os, random, sys, warnings
import numpy, torch  # what they do when they are imported is theirs

def state():
    return {
        "threads": torch.get_num_threads(),
        "default type": torch.get_default_dtype(),
        "torch generator": torch.get_rng_state().tolist(),
        "generators": (random.getstate(), numpy.random.get_state()[1].tolist()),
        "floating point": numpy.geterr(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "root logger": (logging.root.level, list(logging.root.handlers)),
        "loggers of ours": [n for n in logging.root.manager.loggerDict if n.startswith("soundscene")],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "files": sorted(os.listdir(".")),
        "hook": sys.excepthook is sys.__excepthook__,
    }

before, filters = state(), list(warnings.filters)
import pytest

import soundscene
after = state()
for name in before:
    assert before[name] == after[name], name
ours = [f for f in warnings.filters if f not in filters and f[3] is not None and "soundscene" in str(f[3])]
assert not ours, ours
everything = [f for f in warnings.filters if f not in filters and f[1] is None and f[2] is Warning]
assert not everything, everything
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def python(code: str, folder: Path) -> str:
    """What a program prints in a fresh interpreter where warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_importing_changes_nothing_and_takes_no_more_than_prediction_needs(tmp_path: Path) -> None:
    loaded = set(python(IMPORT, tmp_path).split())
    assert "soundscene" in loaded
    assert not loaded & {"sklearn", "matplotlib", "lightning_fabric", "av", "typer", "rich", "tensorboard", "librosa"}


SUBMODULES = """
import importlib, os, pkgutil
import captum.attr, lightning_fabric, matplotlib, ray.data, sklearn  # what they set when they are imported is theirs
import pytest

import soundscene

before = dict(os.environ)
for module in pkgutil.walk_packages(soundscene.__path__, "soundscene."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        if dict(os.environ) != before:
            print(module.name, "changes", sorted(set(os.environ.items()) ^ set(before.items())))
            before = dict(os.environ)
for name in soundscene.__all__:
    if not (name == "__version__" or callable(getattr(soundscene, name))):
        print("soundscene." + name, "is", getattr(soundscene, name))
"""


@pytest.mark.budget(20)  # one process imports all there is, Ray and PyTorch among it
def test_importing_all_submodules_sets_no_environment_and_hides_no_public_name(tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-c", SUBMODULES], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout == ""


def refuse(violations: Iterable[str]) -> None:
    lines = list(violations)
    assert not lines, "\n".join(["", *lines])


def modules() -> Iterator[tuple[str, ast.Module]]:
    """All files but the empty ones that make folders packages."""
    yield from ((name, tree) for name, tree in TREES.items() if not name.endswith("/__init__.py"))


def functions() -> Iterator[tuple[str, Function]]:
    for name, tree in modules():
        yield from ((f"{name}: {node.name}", node) for node in ast.walk(tree) if isinstance(node, Function))


def public(body: list[ast.stmt], where: str) -> Iterator[tuple[str, ast.ClassDef | Function]]:
    """Classes, functions and methods without an underscore in front."""
    for node in body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield f"{where}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{where}{node.name}.")


def arguments(function: Function) -> list[ast.arg]:
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument for argument in every if argument.arg not in ("self", "cls")]


def is_command(function: Function) -> bool:
    """Whether its arguments are documented where the command line takes them: its docstring is a help page."""
    written = [ast.unparse(argument.annotation) for argument in arguments(function) if argument.annotation]
    return any(name.endswith(("Option", "Argument")) or "typer." in name for name in written)


def test_folders_are_packages_by_an_empty_file() -> None:
    refuse(name for name, tree in TREES.items() if name.endswith("/__init__.py") and tree.body)
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    refuse(str(folder) for folder in folders if not (folder / "__init__.py").exists())


def test_files_and_functions_are_short() -> None:
    lines = {name: (PACKAGE / name).read_text(encoding="utf-8").count("\n") for name in TREES}
    refuse(f"{name} has {n} lines" for name, n in lines.items() if n > 400 and name not in LONG_FILES)
    refuse(
        f"{where} has {n} lines"
        for where, node in functions()
        if (n := _lines_without_docstring(node)) > 60 and node.name not in LONG_FUNCTIONS
    )


def _lines_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    documented = ast.get_docstring(node) is not None
    return (node.end_lineno or 0) - node.lineno + 1 - ((first.end_lineno or 0) - first.lineno + 1 if documented else 0)


def test_functions_name_their_keywords() -> None:
    open_sets = {"export/graph.py: op", "export/graph.py: ops"}  # the attributes of any operator of ONNX
    taken = [(where, node.args.kwarg.arg) for where, node in functions() if node.args.kwarg]
    refuse(f"{where} takes **{name}" for where, name in taken if where not in open_sets)


def test_imports_are_absolute_and_annotations_objects() -> None:
    imports = [(name, n) for name, tree in modules() for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    refuse(f"{name}:{n.lineno}: a relative import" for name, n in imports if n.level)
    refuse(f"{name}:{n.lineno}: annotations as text" for name, n in imports if n.module == "__future__")


def test_everything_public_is_documented() -> None:
    refuse(name for name, tree in modules() if not ast.get_docstring(tree))
    nodes = [found for name, tree in modules() for found in public(tree.body, f"{name}: ")]
    refuse(where for where, node in nodes if not ast.get_docstring(node))


def test_public_functions_of_several_arguments_document_them() -> None:
    nodes = [found for name, tree in modules() for found in public(tree.body, f"{name}: ")]
    refuse(
        where
        for where, node in nodes
        if isinstance(node, Function)
        and len(arguments(node)) >= 2
        and not is_command(node)
        and "Args:" not in (ast.get_docstring(node) or "")
    )


def test_docstrings_are_sentences() -> None:
    """Three semicolons are a list, which wants lines or sentences of its own; sections such as Args are lists already."""
    nodes = [
        (name, n)
        for name, tree in modules()
        for n in ast.walk(tree)
        if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    refuse(
        f"{name}: {getattr(node, 'name', 'the module')}"
        for name, node in nodes
        if re.split(r"\n(?:Args|Attributes|Returns|Raises|Yields):", ast.get_docstring(node) or "")[0].count(";") >= 3
    )


def test_every_parameter_is_annotated() -> None:
    refuse(
        f"{where}({argument.arg})"
        for where, node in functions()
        if not any("njit" in ast.unparse(d) for d in node.decorator_list)  # numba infers the types of its kernels
        for argument in arguments(node)
        if argument.annotation is None
    )


def test_no_public_class_or_alias_shares_its_name_with_another() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for name, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
            elif isinstance(node, ast.Assign | ast.AnnAssign):  # an alias of a type is an assignment in CamelCase
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name) and target.id[:1].isupper() and not target.id.isupper():
                        places[target.id].append(name)
    refuse(f"{name}: {', '.join(files)}" for name, files in places.items() if len(files) > 1 and not name.startswith("_"))


def test_no_submodule_has_the_name_of_a_public_object() -> None:
    tops = {name.partition("/")[0].removesuffix(".py") for name in TREES}
    assert tops & set(soundscene.__all__) == set()


def test_no_modules_for_odds_and_ends() -> None:
    refuse(name for name in TREES if any(word in name for word in ("util", "helper", "common", "misc")))


def test_networks_and_errors_are_the_only_families() -> None:
    bases = {
        ast.unparse(base) for _, tree in modules() for n in ast.walk(tree) if isinstance(n, ast.ClassDef) for base in n.bases
    }
    assert bases <= BASES
