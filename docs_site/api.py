"""Pages of the API: what is on which page, and the first line of each module. Sphinx reads the docstrings."""

import ast
from dataclasses import dataclass
from pathlib import Path

import soundscene
from docs_site.commands import escape, hidden_toctree

PACKAGE = Path(soundscene.__file__).parent

FUNCTIONS = ("load", "scan", "train", "evaluate", "predict", "timeline", "explain", "embed")
"""In the order of their use; a new one comes behind them by itself."""
KEYS = " The keys: [recipe keys](../recipe.md)."


@dataclass(frozen=True)
class ApiPage:
    """A page of public names.

    Attributes:
        title: Heading.
        text: First paragraph.
        names: Of the package, or dotted ones of its modules.
    """

    title: str
    text: str
    names: tuple[str, ...]


PUBLIC = {
    "functions": ApiPage(
        "Functions",
        "The commands as functions, with the command line's defaults.",
        tuple(dict.fromkeys([*FUNCTIONS, *(name for name in soundscene.__all__ if name.islower() and name[0] != "_")])),
    ),
    "listing": ApiPage("Listing of recordings", "What `soundscene.scan` returns.", ("data.table.ScanResult",)),
    "predictor": ApiPage("Predictor", "What `soundscene.load` returns.", ("Predictor", "live.Update", "live.Listener")),
    "predictions": ApiPage(
        "Predictions",
        "What a model says of a recording.",
        (
            "ScenePrediction",
            "Predictions",
            "prediction.SegmentPrediction",
            "types.Timeline",
            "types.Span",
            "types.Change",
            "scoring.evaluation.Evaluation",
        ),
    ),
    "estimators": ApiPage(
        "scikit-learn estimators",
        "For pipelines, grid searches by group, and clone.",
        ("estimators.SceneFeatures", "estimators.CalibratedSVC", "estimators.SceneClassifier"),
    ),
    "recipe": ApiPage("Recipe", f"Every number that decides something.{KEYS}", ("Recipe",)),
    "errors": ApiPage(
        "Errors and warnings",
        "Every error that a user can cause is a `SceneError`.",
        tuple(name for name in sorted(soundscene.__all__) if name.endswith(("Error", "Warning"))),
    ),
}
MODULES = {
    "Models": "types model member bundle live timelines hub",
    "Sound": "audio.files audio.arrays audio.folders audio.pcm audio.microphone",
    "Samples to images": "signal.frontend signal.features signal.filterbanks signal.noise signal.minimum_statistics "
    "signal.stft signal.segments signal.streams signal.meter",
    "Networks": "network.models network.blocks network.attention network.svm",
    "Scores": "scoring.metrics scoring.fusion scoring.intervals scoring.comparisons scoring.decoding scoring.evaluation "
    "scoring.unfamiliarity",
    "Corpora": "data.manifest data.scan data.splits data.corpus data.soundata",
    "Training": "training.between_class training.augment",
    "Systems and experiments": "systems.system systems.catalogue experiment.results",
    "Rendered sound": "render.corpus",
}
"""Heading -> modules that are of use alone."""


def api_pages() -> dict[str, str]:
    """Return name -> reStructuredText or Markdown of the pages; those of modules end in .rst."""
    public = {f"{name}.md": _public_page(page) for name, page in PUBLIC.items()}
    modules = {name: heading for heading, names in MODULES.items() for name in names.split()}
    shown = {name if "." in name else _home(name) for page in PUBLIC.values() for name in page.names}
    pages = {f"soundscene.{name}.rst": _module_page(name, shown) for name in modules}
    return {"index.md": _index(), "modules.md": _modules(), **public, **pages}


def without_page() -> list[str]:
    """Return the modules of the package that have no page, as dotted names; a link to a name of theirs stays text."""
    names = (path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    shown = {name for names in MODULES.values() for name in names.split()}
    dotted = {".".join(parts).removesuffix(".__init__") for parts in names}
    return sorted(f"soundscene.{name}" for name in dotted - shown - {"recipe", "__init__"})


def first_line(module: str) -> str:
    """Return the first line of a module's docstring, without importing it.

    Args:
        module: Its name inside of the package.
    """
    path = PACKAGE.joinpath(*module.split("."))
    source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").splitlines()[0]


def _home(name: str) -> str:
    return f"{soundscene._MODULES.get(name, 'errors')}.{name}" if name in soundscene.__all__ else name


def _index() -> str:
    lines = ["# Python", "", "```python", "import soundscene", "```", ""]
    lines += [f"- [{page.title}]({name}.md): {page.text.removesuffix(KEYS)}" for name, page in PUBLIC.items()]
    lines += ["- [Modules](modules.md): pieces that are of use alone."]
    return "\n".join([*lines, "", hidden_toctree([*PUBLIC, "modules"]), ""])


def _modules() -> str:
    lines = [
        "# Modules",
        "",
        "Pieces that are of use alone. Names outside of `soundscene.__all__` may change between versions.",
    ]
    for heading, names in MODULES.items():
        lines += ["", f"## {heading}", "", "| module | |", "|---|---|"]
        lines += [f"| [{name}](soundscene.{name}.rst) | {escape(first_line(name))} |" for name in names.split()]
    order = [f"soundscene.{name}" for names in MODULES.values() for name in names.split()]
    return "\n".join([*lines, "", hidden_toctree(order), ""])


def _public_page(page: ApiPage) -> str:
    blocks = [f"# {page.title}", page.text]
    for name in page.names:
        kind = "autofunction" if name.rpartition(".")[2][0].islower() else "autoclass"
        options = "" if kind == "autofunction" else "   :members:\n   :special-members: __call__\n"
        blocks.append(f"```{{eval-rst}}\n.. {kind}:: soundscene.{name}\n{options}```")
    return "\n\n".join(blocks) + "\n"


def _module_page(module: str, shown: set[str]) -> str:
    title = module if "." in module else f"soundscene.{module}"
    left_out = sorted(name.rpartition(".")[2] for name in shown if name.rpartition(".")[0] == module)
    lines = [title, "=" * len(title), "", f".. automodule:: soundscene.{module}", "   :members:"]
    return "\n".join([*lines, *([f"   :exclude-members: {', '.join(left_out)}"] if left_out else []), ""])
