"""The shape of the house: what the package shows, what importing it does, how long its files and functions are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import soundscene

PACKAGE = Path(soundscene.__file__).parent
LONG = {"_track"}  # one recursion over frames, in the order of its reference; cut in two it would carry twenty arrays over
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]


def test_public_names():
    assert sorted(soundscene.__all__) == [
        "AudioError",
        "AudioWarning",
        "BundleError",
        "ManifestError",
        "Predictor",
        "Recipe",
        "RecipeError",
        "SceneError",
        "ScenePrediction",
        "TrainingError",
        "__version__",
        "load",
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


def test_importing_changes_nothing_and_takes_no_more_than_prediction_needs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    loaded = set(done.stdout.split())
    assert "soundscene" in loaded
    assert not loaded & {"sklearn", "matplotlib", "lightning_fabric", "av", "typer", "rich", "tensorboard", "librosa"}


def functions(tree):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_house_rules_of_a_file(path):
    text, tree = path.read_text(encoding="utf-8"), parse(path)
    if path.name == "__init__.py" and path.parent != PACKAGE:
        assert text == "", "a room has no lobby: __init__.py stays empty"
        return
    assert text.count("\n") <= 300, "over 300 lines"
    assert ast.get_docstring(tree), "no module docstring"
    for function in functions(tree):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= 60 or function.name in LONG, f"{function.name} has {lines} lines"
        assert function.args.kwarg is None, f"{function.name} takes **keywords"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            assert node.module != "__future__", f"line {node.lineno}: annotations have to stay objects"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_everything_public_says_what_it_is(path):
    def walk(body, where):
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    missing.append(f"{where}{node.name}")
                if isinstance(node, ast.ClassDef):
                    walk(node.body, f"{node.name}.")

    missing = []
    walk(parse(path).body, "")
    assert not missing


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_parameter_is_annotated(path):
    bare = []
    for function in functions(parse(path)):
        if any("njit" in ast.unparse(d) for d in function.decorator_list):
            continue  # numba infers the types of its kernels
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        bare += [f"{function.name}({a.arg})" for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
    assert not bare


def test_no_rooms_for_odds_and_ends():
    assert not [name for name in NAMES if any(word in name for word in ("util", "helper", "common", "misc"))]


def test_networks_and_errors_are_the_only_families():
    """Networks are nn.Module, recipes msgspec's records, and errors one family that the command line can catch.

    PyTorch takes an operation with a gradient of its own as a subclass only.
    """
    allowed = {"nn.Module", "torch.autograd.Function", "Struct", "Exception", "UserWarning", "SceneError"}
    found = {
        ast.unparse(base) for path in FILES for n in ast.walk(parse(path)) if isinstance(n, ast.ClassDef) for base in n.bases
    }
    assert found <= allowed
