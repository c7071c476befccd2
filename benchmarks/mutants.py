"""Small deliberate mistakes in soundscene, drawn by a seed, and whether the tests notice them.

    python benchmarks/mutants.py draw --tree DIR --seed 0 --count 200 --out LIST
    python benchmarks/mutants.py locate LIST --tree DIR [--relocate MAP]
    python benchmarks/mutants.py run LIST --tree DIR --tests-map COVERAGE --out RESULTS [--durations LOG] [--relocate MAP]
    python benchmarks/mutants.py compare BEFORE AFTER

The tests of two states of the code are compared by the same mistakes: LIST is drawn on the old code; what was caught before
has to be caught after. A mutant is named by its function, the normal form of its statement and the node in it, so that it is
found again where code has moved. What was renamed is told by MAP, JSON of id -> {path, qualname, statement, old, new}, each
of them optional; `locate` lists what it cannot find, and what it found in a function of another name: look at those.

COVERAGE is the data file (or a folder with several) of

    python -m pytest -n 2 --dist loadfile --durations=0 -vv --cov=soundscene --cov-context=test --cov-report= > LOG

A mutant meets the tests that ran its statement. What runs at import (constants, defaults) or in compiled code or in another
process has no such tests: it meets those that ran a statement which names it, directly or through other such names. First
come the 25 fastest tests and 25 others by lot, 60 s of them at most; what survives them meets all others, `--rest` seconds
of them at most. Left out are tests that start clusters, kill processes or read the source (`EXCLUDED`). Tests run in a fork
of a process that has the large libraries loaded, in a copy of the tree which subprocesses see too, with one thread. All
chosen tests first run without a mutant; those that fail are left out. With `--first BEFORE`, the test of the same name as
the one that caught a mutant before comes first, alone; whatever else catches it is then run without it too. RESULTS holds
for each mutant a status: "caught", "timeout" (counts as caught), "survived", "no test"; a second run
goes on with it.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

PACKAGE = "soundscene"
EXCLUDED = (
    r"test_(architecture|docs|benchmarks|gpu_benchmark|speed)|cluster|test_ray|test_kill|killed_at|kill_while|torchrun"
)
HEAVY = (
    *("numpy", "scipy.signal", "scipy.stats", "scipy.special", "scipy.optimize", "torch", "numba", "sklearn.svm", "sklearn"),
    *("sklearn.linear_model", "librosa", "matplotlib.figure", "matplotlib.backends.backend_agg", "lightning_fabric"),
    *(
        "statsmodels.stats.contingency_tables",
        "skimage.feature",
        "soundfile",
        "soxr",
        "pyarrow",
        "pyarrow.parquet",
        "captum.attr",
    ),
    *(
        "msgspec",
        "jaxtyping",
        "beartype",
        "safetensors.numpy",
        "hypothesis",
        "jinja2",
        "fsspec",
        "filelock",
        "typer",
        "rich.live",
    ),
    *("tensorboard", "pytest", "_pytest.assertion.rewrite", "threadpoolctl"),
)
FASTEST, OTHERS, FIRST_S, TIMEOUT_S, SETUP_S = 25, 25, 60.0, 120.0, 5.0
BODIES = ("body", "orelse", "finalbody", "handlers", "cases")
UNTOUCHED = ("annotation", "returns", "decorator_list", "bases")  # types and decorators change nothing that a test could see
LOGGING = ("debug", "info", "warning", "log")

COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
EXTREME = {"min": "max", "minimum": "maximum", "argmin": "argmax"}
EXTREME |= {big: small for small, big in EXTREME.items()}


@dataclass(frozen=True)
class Mutant:
    """A mistake: in the `nth` node that reads `old` of the `occurrence`-th statement that reads `statement` in a function.

    statement: the statement's normal form, compound ones without their bodies; old, new: source text.
    """

    id: int
    path: str
    qualname: str
    line: int
    operator: str
    old: str
    new: str
    statement: str
    occurrence: int
    nth: int


@dataclass(frozen=True)
class Place:
    """A statement, where it stands, whether that is in a function, and whether numba compiles it."""

    path: str
    qualname: str
    node: ast.stmt
    in_function: bool
    compiled: bool

    @property
    def lines(self) -> range:
        """Lines of the statement, of a compound one those before its body."""
        body = getattr(self.node, "body", None)
        last = self.node.end_lineno or self.node.lineno
        return range(self.node.lineno, max(self.node.lineno, min(last, body[0].lineno - 1 if body else last)) + 1)

    @property
    def at_import(self) -> bool:
        """Whether it runs when the module is imported; a function's head does."""
        return not self.in_function or isinstance(self.node, ast.FunctionDef)


def normal(node: ast.AST) -> str:
    """A statement or expression as text that layout and comments do not change; compound statements without their bodies."""
    if isinstance(node, ast.stmt):
        node = copy.copy(node)
        for name in BODIES:
            if hasattr(node, name):
                setattr(node, name, [])
    return ast.unparse(node)


def places(path: str, tree: ast.Module) -> Iterator[Place]:
    """All statements of a module that may be mutated, in their order."""

    def walk(body: Sequence[ast.AST], where: str, in_function: bool, compiled: bool) -> Iterator[Place]:
        for node in body:
            inside, named, code = in_function, where, compiled
            if isinstance(node, ast.If) and re.search("TYPE_CHECKING|__name__", ast.unparse(node.test)):
                continue
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                named = f"{where}.{node.name}".lstrip(".")
                inside = not isinstance(node, ast.ClassDef)
                code = any("njit" in ast.unparse(d) for d in node.decorator_list)
            silent = isinstance(node, ast.Import | ast.ImportFrom | ast.Pass | ast.Global | ast.Nonlocal)
            text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if isinstance(node, ast.stmt) and not silent and not text:
                yield Place(path, named, node, inside, code)
            for name in BODIES:
                yield from walk(getattr(node, name, []), named, inside, code)

    yield from walk(tree.body, "", False, False)


def nodes(statement: ast.stmt) -> Iterator[ast.expr]:
    """The expressions of a statement itself, those of its body left out, and types, decorators and formatted text."""

    def walk(node: ast.AST) -> Iterator[ast.expr]:
        for name, value in ast.iter_fields(node):
            if name in UNTOUCHED or (name in BODIES and isinstance(value, list)):
                continue
            if isinstance(node, ast.ClassDef | ast.Try | ast.Match):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                    if isinstance(child, ast.expr):
                        yield child
                    yield from walk(child)

    yield from walk(statement)


def changed(node: ast.expr) -> Iterator[tuple[str, str]]:
    """What may be made of an expression: operator of mutation, new text."""
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            ops = [*node.ops[:i], COMPARE[type(op)](), *node.ops[i + 1 :]]
            yield "comparison", f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        if not any(
            isinstance(side, ast.JoinedStr | ast.List | ast.Tuple) or _is_text(side) for side in (node.left, node.right)
        ):
            yield "arithmetic", f"({ast.unparse(ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right))})"
    elif isinstance(node, ast.BoolOp):
        op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "boolean", f"({ast.unparse(ast.BoolOp(op, node.values))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield "constant", str(node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield "constant", repr(node.value * 1.5 or 1.0)
    elif isinstance(node, ast.Name | ast.Attribute):
        name = node.id if isinstance(node, ast.Name) else node.attr
        if name in EXTREME and isinstance(node.ctx, ast.Load):
            yield "extreme", ast.unparse(node)[: -len(name)] + EXTREME[name]
    elif isinstance(node, ast.IfExp) and not _is_negated(node.test):
        yield "condition", f"({ast.unparse(ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse))})"


def _is_negated(test: ast.expr) -> bool:
    """Whether another operator negates a condition already."""
    equal = ast.Eq | ast.NotEq | ast.In | ast.NotIn | ast.Is | ast.IsNot
    return (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)) or (
        isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], equal)
    )


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def replaced(node: ast.stmt) -> Iterator[tuple[str, ast.stmt | ast.expr, str]]:
    """What may be made of a statement as a whole: operator, what is replaced, new text."""
    if isinstance(node, ast.If) and not _is_negated(node.test):
        yield "condition", node.test, f"(not ({ast.unparse(node.test)}))"
    elif isinstance(node, ast.Return) and node.value is not None and normal(node.value) != "None":
        yield "return", node, "return None"
    elif isinstance(node, ast.Raise | ast.AugAssign) or (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "attr", "") not in LOGGING
    ):
        yield "deletion", node, "pass"


def sources(tree: Path) -> dict[str, str]:
    """Text of all modules of the package by their path in the tree."""
    found = sorted(path for path in (tree / PACKAGE).rglob("*.py") if path.name != "__main__.py")
    return {path.relative_to(tree).as_posix(): path.read_text(encoding="utf-8") for path in found}


def sites(path: str, text: str) -> list[Mutant]:
    """All mutants of a module, their ids still 0."""
    met: dict[tuple[str, str], int] = defaultdict(int)
    found = []
    for place in places(path, ast.parse(text)):
        statement = normal(place.node)
        occurrence = met[place.qualname, statement]
        met[place.qualname, statement] += 1
        own = list(nodes(place.node))
        reads = [ast.unparse(node) for node in own]
        changes = [(operator, node, new) for node in own for operator, new in changed(node)]
        for operator, node, new in [*changes, *replaced(place.node)]:
            nth = reads[: own.index(node)].count(ast.unparse(node)) if isinstance(node, ast.expr) else 0
            old = ast.get_source_segment(text, node) or ""
            found.append(Mutant(0, path, place.qualname, node.lineno, operator, old, new, statement, occurrence, nth))
    return found


def code_lines(text: str) -> int:
    """Lines that hold statements: comments, docstrings and empty lines do not count."""
    return len({line for place in places("", ast.parse(text)) for line in place.lines})


def shares(weights: Mapping[str, int], count: int) -> dict[str, int]:
    """`count` parted by weight, one each at least, by largest remainders."""
    total = sum(weights.values())
    exact = {name: count * weight / total for name, weight in weights.items()}
    parts = {name: max(1, int(share)) for name, share in exact.items()}
    while (missing := count - sum(parts.values())) != 0:
        step = 1 if missing > 0 else -1
        name = max((n for n in parts if step > 0 or parts[n] > 1), key=lambda n: (step * (exact[n] - parts[n]), n))
        parts[name] += step
    return parts


def draw(tree: Path, seed: int, count: int) -> list[Mutant]:
    """Mutants of all modules, as many of each as its lines say; in a module operators are drawn first, then places."""
    texts = sources(tree)
    all_sites = {path: sites(path, text) for path, text in texts.items()}
    weights = {path: code_lines(texts[path]) for path, found in all_sites.items() if found}
    drawn: list[Mutant] = []
    for path, share in sorted(shares(weights, count).items()):
        lot = random.Random(f"{seed}:{path}")
        by_operator: dict[str, list[Mutant]] = defaultdict(list)
        for mutant in all_sites[path]:
            by_operator[mutant.operator].append(mutant)
        for _ in range(min(share, len(all_sites[path]))):
            operator = lot.choice(sorted(name for name, left in by_operator.items() if left))
            left = by_operator[operator]
            drawn.append(left.pop(lot.randrange(len(left))))
    drawn.sort(key=lambda m: (m.path, m.line, m.operator, m.old, m.new))
    return [replace(mutant, id=i) for i, mutant in enumerate(drawn, 1)]


@dataclass(frozen=True)
class Found:
    """A mutant in a tree: the statement's place, and the whole text of the mutated module."""

    place: Place
    text: str


def _parsed(code: str) -> ast.AST:
    """An expression or, failing that, a statement; may span lines."""
    try:
        return ast.parse(f"({code})", mode="eval").body
    except SyntaxError:
        return ast.parse(code).body[0]


class Code:
    """The package's statements in a tree, and the mutants in them."""

    def __init__(self, tree: Path):
        self.texts = sources(tree)
        self.places = [place for path, text in self.texts.items() for place in places(path, ast.parse(text))]
        self.reads: dict[str, list[Place]] = defaultdict(list)
        for place in self.places:
            self.reads[normal(place.node)].append(place)

    def find(self, mutant: Mutant, moved: Mapping[str, Any]) -> Found | None:
        """Where a mutant stands: in its file; else in its function elsewhere; else where its statement is the only one."""
        mutant = replace(mutant, **{k: v for k, v in moved.items() if k in Mutant.__dataclass_fields__})
        statement = moved.get("statement")
        wanted = self._normal_statement(statement) if statement else mutant.statement
        same = self.reads.get(wanted, [])
        last = mutant.qualname.rpartition(".")[2]
        rules: list[Callable[[Place], bool]] = [
            lambda p: p.path == mutant.path and p.qualname == mutant.qualname,
            lambda p: p.qualname == mutant.qualname,
            lambda p: p.qualname.rpartition(".")[2] == last,
            lambda p: True,
        ]
        for rule in rules[: 1 if "path" in moved and "qualname" in moved else 4]:
            there = [place for place in same if rule(place)]
            n_files = len({(place.path, place.qualname) for place in there})
            if n_files == 1 and mutant.occurrence < len(there):
                return self._mutate(there[mutant.occurrence], mutant)
        return None

    def _normal_statement(self, text: str) -> str:
        head = text.rstrip()
        with contextlib.suppress(SyntaxError):
            return normal(ast.parse(head).body[0])
        return normal(ast.parse(f"{head}\n    pass").body[0])

    def _mutate(self, place: Place, mutant: Mutant) -> Found | None:
        wanted = ast.unparse(_parsed(mutant.old))
        whole = [place.node] if normal(place.node) == wanted and mutant.operator in ("return", "deletion") else []
        same: list[Any] = whole or [node for node in nodes(place.node) if ast.unparse(node) == wanted]
        if mutant.nth >= len(same):
            return None
        node = same[mutant.nth]
        lines = self.texts[place.path].encode().splitlines(keepends=True)
        start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
        end = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
        text = b"".join(lines)
        new = (text[:start] + mutant.new.encode() + text[end:]).decode()
        compile(new, place.path, "exec")
        return Found(place, new)

    def users(self, place: Place) -> Iterator[Place]:
        """Statements in functions that name what `place` defines, or what is defined by means of it without being traced."""
        waiting = {(place.path, name) for name in _defines(place)}
        done: set[tuple[str, str]] = set()
        while waiting:
            path, name = waiting.pop()
            done.add((path, name))
            for other in self.places:
                if (name.startswith("_") and other.path != path) or name not in _uses(other.node):
                    continue
                if other.compiled or other.at_import:
                    waiting |= {(other.path, more) for more in _defines(other)} - done
                else:
                    yield other


def _defines(place: Place) -> set[str]:
    """The function that holds a statement, or the names that a statement at import assigns."""
    if place.in_function:
        name = place.qualname.rpartition(".")[2]
        return {place.qualname.split(".")[-2] if name in ("__init__", "__post_init__", "__call__") else name}
    targets = getattr(place.node, "targets", None) or [getattr(place.node, "target", None)]
    names = {node.id for target in targets if target for node in ast.walk(target) if isinstance(node, ast.Name)}
    return names or {place.qualname.rpartition(".")[2]} - {""}


def _uses(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.ClassDef):
        return set()
    named = {n.id for n in nodes(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    attributes = {n.attr for n in nodes(node) if isinstance(n, ast.Attribute)}
    return named | attributes | {k.arg for n in nodes(node) if isinstance(n, ast.Call) for k in n.keywords if k.arg}


class Tests:
    """Which tests run which statements, and how long they take."""

    def __init__(self, data: Path, log: Path | None, excluded: str, code: Code):
        from coverage import CoverageData

        self.code, self.excluded, self.failing = code, re.compile(excluded), set[str]()
        self.killers: dict[int, list[str]] = {}
        self.checked: set[str] = set()
        self.lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for file in sorted(data.glob(".coverage*")) if data.is_dir() else [data]:
            known = CoverageData(str(file))
            known.read()
            for name in known.measured_files():
                path = f"{PACKAGE}/" + name.rpartition(f"/{PACKAGE}/")[2]
                for line, contexts in known.contexts_by_lineno(name).items():
                    self.lines[path][line] |= {_ungrouped(c.rpartition("|")[0]) for c in contexts if c}
        self.seconds: dict[str, float] = defaultdict(lambda: 0.005)
        self.setup_s: dict[str, float] = defaultdict(float)  # of files: what the first of their tests waits for
        for line in log.read_text(encoding="utf-8").splitlines() if log else []:
            if took := re.match(r"\s*([\d.]+)s (call|setup|teardown)\s+(\S.*)$", line):
                seconds, test = float(took[1]), _ungrouped(took[3])
                file = test.partition("::")[0]
                if took[2] == "setup" and seconds >= SETUP_S:
                    self.setup_s[file] = max(seconds, self.setup_s[file])
                else:
                    self.seconds[test] += seconds

    def put_first(self, before: "Mapping[int, Result]") -> None:
        """Note for each mutant the test of the name of the one that caught it in another tree, where there is one."""
        known = sorted({test for lines in self.lines.values() for tests in lines.values() for test in tests})
        named = {test.partition("::")[2]: test for test in known if not self.excluded.search(test)}
        plain = {name.partition("[")[0]: test for name, test in reversed(named.items())}
        for i, result in before.items():
            name = result.test.removesuffix(" (crash)").partition("::")[2]
            if test := named.get(name) or plain.get(name.partition("[")[0]):
                self.killers[i] = [test]

    def cost(self, tests: Sequence[str]) -> float:
        """Seconds that tests take together."""
        files = {test.partition("::")[0] for test in tests}
        return sum(self.seconds[test] for test in tests) + sum(self.setup_s[file] for file in files)

    def of(self, place: Place) -> list[str]:
        """Tests that a mistake at `place` may make fail, the fastest first."""
        found = set() if place.at_import or place.compiled else self._ran([place])
        if not found and isinstance(place.node, ast.FunctionDef) and not place.compiled:
            found = self._ran([p for p in self.code.places if p.path == place.path and p.qualname == place.qualname][1:])
        if not found:
            found = self._ran(self.code.users(place))
        usable = (t for t in found - self.failing if not self.excluded.search(t))
        return sorted(usable, key=lambda test: (self.cost([test]), test))

    def _ran(self, some: Any) -> set[str]:
        return {test for place in some for line in place.lines for test in self.lines[place.path][line]}

    def parted(self, tests: Sequence[str], seed: int, rest_s: float) -> tuple[list[str], list[str]]:
        """Tests of the first and of the second try."""
        others = list(tests[FASTEST:])
        random.Random(seed).shuffle(others)
        parts, limits, most = ([], []), (FIRST_S, rest_s), (FASTEST + OTHERS, len(tests))
        for test in [*tests[:FASTEST], *others]:
            for part, limit, n in zip(parts, limits, most, strict=True):
                if len(part) < n and self.cost([*part, test]) <= limit:
                    part.append(test)
                    break
        return parts


def _ungrouped(test: str) -> str:
    """A test's name without the group that pytest-xdist appends."""
    return re.sub(r"@[^@\]]*$", "", test)


@dataclass(eq=False)
class Chosen:
    """A plugin of pytest: run the chosen tests only, file by file, and write down what failed."""

    tests: Sequence[str]
    told: Path

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep what is chosen, in its order, tests of a file together."""
        rank = {test: i for i, test in enumerate(self.tests)}
        kept = [item for item in items if item.nodeid in rank]
        first: dict[str, int] = {}
        for item in kept:
            file = item.nodeid.partition("::")[0]
            first[file] = min(first.get(file, len(rank)), rank[item.nodeid])
        items[:] = sorted(kept, key=lambda item: (first[item.nodeid.partition("::")[0]], rank[item.nodeid]))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """The last to begin is known if it crashes or hangs."""
        self._tell({"began": nodeid})

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A failure, in whichever phase."""
        if report.failed:
            self._tell({"failed": report.nodeid})

    def pytest_collectreport(self, report: Any) -> None:
        """A module that cannot be imported."""
        if report.failed:
            self._tell({"failed": f"import of {report.nodeid}"})

    def _tell(self, said: Mapping[str, Any]) -> None:
        with self.told.open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")


class Bench:
    """A copy of a tree in which tests run in forks of this process, one mutant at a time."""

    def __init__(self, tree: Path, work: Path):
        self.tree, self.work, self.n_runs = work / "tree", work, 0
        listed = subprocess.run(
            ["git", "-C", str(tree), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (tree / name).is_file() and not Path(name).name.startswith(".coverage"):
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(tree / name, self.tree / name)
        compiled = [p for p in (self.tree / PACKAGE).rglob("*.py") if "njit" in p.read_text(encoding="utf-8")]
        imports = " ".join(p.read_text(encoding="utf-8") for p in compiled)
        named = re.findall(rf"^from ({PACKAGE}[\w.]*) import", imports, re.MULTILINE)
        self.compiled = {p.relative_to(self.tree).as_posix() for p in compiled} | {
            f"{n.replace('.', '/')}.py" for n in named
        }

    def run(self, tests: Sequence[str], timeout_s: float, found: Found | None, stop: bool = True) -> tuple[str, list[str]]:
        """How it ended (passed, failed, timeout, crashed), and at which tests, with a mutant in place or without."""
        self.n_runs += 1
        shutil.rmtree(self.work / "tmp", ignore_errors=True)
        told = self.work / "told"
        told.unlink(missing_ok=True)
        cache = self.work / "numba"
        if found and found.place.path in self.compiled:  # what numba compiled of it, or with its constants in it, is stale
            cache = self.work / f"numba-{self.n_runs}"
        with self._mutated(found):
            child = os.fork()
            if child == 0:
                self._work(tests, told, cache, stop)
            code = self._wait(child, timeout_s)
        if cache.name != "numba":
            shutil.rmtree(cache, ignore_errors=True)
        said = [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()] if told.exists() else []
        failed = [line["failed"] for line in said if "failed" in line]
        began = [line["began"] for line in said if "began" in line][-1:]
        if failed or code == 0:
            return "failed" if failed else "passed", failed
        return "timeout" if code is None else "crashed", began

    @contextlib.contextmanager
    def _mutated(self, found: Found | None) -> Iterator[None]:
        if not found:
            yield
            return
        path = self.tree / found.place.path
        text, stat = path.read_bytes(), path.stat()
        path.write_text(found.text, encoding="utf-8")
        os.utime(
            path, (stat.st_mtime + 10 * self.n_runs, stat.st_mtime + 10 * self.n_runs)
        )  # no cache may take it for another
        try:
            yield
        finally:
            path.write_bytes(text)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def _work(self, tests: Sequence[str], told: Path, cache: Path, stop: bool) -> None:
        """The child: becomes what `python -m pytest` is, and ends."""
        code = 3
        try:
            os.setsid()
            log = os.open(self.work / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.chdir(self.tree)
            os.environ |= {"PYTHONPATH": str(self.tree), "NUMBA_CACHE_DIR": str(cache)}
            sys.modules["numba.core.config"].CACHE_DIR = str(cache)  # type: ignore[attr-defined]
            sys.path[0] = str(self.tree)
            spec = importlib.util.find_spec("pytest.__main__")
            main: Any = sys.modules["__main__"]
            main.__spec__, main.__file__ = spec, spec.origin if spec else None
            import pytest

            files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
            words = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--tb=short", f"--basetemp={self.work / 'tmp'}"]
            words += ["--hypothesis-seed=0", "-W", "ignore::pytest.PytestAssertRewriteWarning", *(["-x"] if stop else [])]
            code = pytest.main([*words, *files], plugins=[Chosen(tests, told)])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(code))

    def _wait(self, child: int, timeout_s: float) -> int | None:
        """Its exit status, None where it had to be ended; what it started ends with it."""
        until = time.monotonic() + timeout_s
        code = None
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.02)
        else:
            code = os.waitstatus_to_exitcode(ended[1])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return code


@dataclass(frozen=True)
class Result:
    """What became of a mutant: status, the test that caught it, and how many tests it met."""

    id: int
    status: str
    test: str = ""
    n_tests: int = 0


def save(results: Mapping[int, Result], out: Path) -> None:
    """One line of JSON each, in the order of ids."""
    lines = [json.dumps(asdict(result), ensure_ascii=False) for _, result in sorted(results.items())]
    out.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def load_mutants(path: Path) -> list[Mutant]:
    """The list that `draw` wrote."""
    return [Mutant(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def load_results(path: Path) -> dict[int, Result]:
    """Results by id; none where there is no file."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return {row["id"]: Result(**row) for row in rows}


def try_mutant(bench: Bench, tests: Tests, mutant: Mutant, found: Found, rest_s: float) -> Result:
    """Meet the tests of the first try, then all others."""
    killers = tests.killers.get(mutant.id, [])
    n = 0
    for chosen in (killers, *tests.parted(tests.of(found.place), mutant.id, rest_s)):
        if chosen:
            n += len(chosen)
            status, failed = bench.run(chosen, TIMEOUT_S + 3 * tests.cost(chosen), found)
            if status != "passed":
                test = (failed or ["before any test"])[0]
                if "::" in test and test not in tests.checked:
                    if bench.run([test], TIMEOUT_S + 3 * tests.cost([test]), None)[0] != "passed":
                        tests.failing.add(test)
                        return try_mutant(bench, tests, mutant, found, rest_s)
                    tests.checked.add(test)
                caught = "timeout" if status == "timeout" else "caught"
                return Result(mutant.id, caught, f"{test} (crash)" if status == "crashed" else test, n)
    return Result(mutant.id, "survived" if n else "no test", "", n)


def check_unmutated(bench: Bench, tests: Tests, found: Mapping[int, Found], rest_s: float) -> None:
    """Run what the first tries will run, without a mutant; what fails is left out from now on."""
    chosen = dict.fromkeys(
        test
        for i, place in found.items()
        for test in (tests.killers.get(i, []) if tests.killers else tests.parted(tests.of(place.place), i, rest_s)[0])
    )
    start = time.monotonic()
    status, failed = bench.run(sorted(chosen), TIMEOUT_S + 5 * tests.cost(list(chosen)), None, stop=False)
    tests.failing |= set(failed)
    tests.checked |= set(chosen) - tests.failing
    tests.killers = {i: some for i, some in tests.killers.items() if not tests.failing & set(some)}
    print(
        f"without a mutant: {status}, {len(chosen)} tests, {time.monotonic() - start:.0f} s; left out: {failed}", flush=True
    )
    if status not in ("passed", "failed"):
        sys.exit((bench.work / "log").read_text(encoding="utf-8", errors="replace")[-2000:])


def run(options: argparse.Namespace) -> None:
    """Every mutant of a list, one after the other."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    code = Code(options.tree)
    tests = Tests(options.tests_map, options.durations, options.exclude, code)
    if options.first:
        tests.put_first(load_results(options.first))
    moved = json.loads(options.relocate.read_text(encoding="utf-8")) if options.relocate else {}
    results = load_results(options.out)
    wanted = {int(i) for i in options.only.split(",")} if options.only else None
    mutants = [m for m in load_mutants(options.list) if (m.id in wanted if wanted else m.id not in results)]
    found = {m.id: place for m in mutants if (place := code.find(m, moved.get(str(m.id), {})))}
    if lost := [m.id for m in mutants if m.id not in found]:
        sys.exit(f"not in this tree: {lost}; tell where they are by --relocate")
    with tempfile.TemporaryDirectory(prefix="mutants-", dir=options.work) as work:
        bench = Bench(options.tree, Path(work))
        if not options.unchecked:
            check_unmutated(bench, tests, found, options.rest)
        for mutant in mutants:
            start = time.monotonic()
            result = results[mutant.id] = try_mutant(bench, tests, mutant, found[mutant.id], options.rest)
            save(results, options.out)
            said = f"{result.status:9}{time.monotonic() - start:6.1f} s {result.n_tests:4} tests {result.test}"
            print(f"{mutant.id:4} {mutant.path}:{mutant.line} {mutant.operator} {said}", flush=True)
            if options.keep_logs and (bench.work / "log").exists():
                shutil.copy(bench.work / "log", options.keep_logs / f"{mutant.id}.log")
    summary(results)


def summary(results: Mapping[int, Result]) -> None:
    """How many of each status."""
    statuses = [result.status for result in results.values()]
    print(*(f"{status}: {statuses.count(status)}" for status in sorted(set(statuses))), sep=", ")


def locate(options: argparse.Namespace) -> None:
    """Say which mutants of a list are not found in a tree, and which are found in a function of another name."""
    code = Code(options.tree)
    moved = json.loads(options.relocate.read_text(encoding="utf-8")) if options.relocate else {}
    mutants = load_mutants(options.list)
    n_found = 0
    for m in mutants:
        found = code.find(m, moved.get(str(m.id), {}))
        n_found += found is not None
        if found and found.place.qualname != m.qualname:
            print(f"{m.id}: {m.path}, {m.qualname}: found in {found.place.path}, {found.place.qualname}")
        elif not found:
            head = m.statement.partition("\n")[0]
            print(f"{m.id}: {m.path}:{m.line} in {m.qualname or 'the module'}: {head!r}: {m.old!r} -> {m.new!r}")
    print(f"{n_found} of {len(mutants)} found")


def compare(options: argparse.Namespace) -> None:
    """Say which mutants were caught before and are not after; ends with 1 if there are any."""
    before, after = load_results(options.before), load_results(options.after)
    summary(before)
    summary(after)
    held = ("caught", "timeout")
    worse = [i for i, old in before.items() if old.status in held and (i not in after or after[i].status not in held)]
    for i in worse:
        print(f"{i}: was {before[i].status} by {before[i].test}, is {after[i].status if i in after else 'missing'}")
    sys.exit(1 if worse else 0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    drawing, finding, running, comparing = map(commands.add_parser, ("draw", "locate", "run", "compare"))
    for one in (drawing, finding, running):
        one.add_argument("--tree", type=Path, default=Path())
    drawing.add_argument("--seed", type=int, default=0)
    drawing.add_argument("--count", type=int, default=200)
    for one in (finding, running):
        one.add_argument("list", type=Path)
        one.add_argument("--relocate", type=Path)
    for one in (drawing, running):
        one.add_argument("--out", type=Path, required=True)
    running.add_argument("--tests-map", type=Path, required=True, help="data of coverage with contexts, or a folder of it")
    running.add_argument("--durations", type=Path, help="log of pytest --durations=0")
    running.add_argument("--exclude", default=EXCLUDED, help="regular expression of tests to leave out")
    running.add_argument("--rest", type=float, default=300.0, help="seconds of tests of the second try")
    running.add_argument("--first", type=Path, help="results of another tree, whose tests come first")
    running.add_argument("--only", help="ids, comma-separated; run again if they have results")
    running.add_argument("--unchecked", action="store_true", help="do not run the tests without a mutant first")
    running.add_argument("--work", type=Path, help="where the copy of the tree is made (default: the system's)")
    running.add_argument("--keep-logs", type=Path, help="folder for what pytest said of each mutant")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.command == "draw":
        mutants = draw(options.tree, options.seed, options.count)
        lines = [json.dumps(asdict(mutant), ensure_ascii=False) for mutant in mutants]
        options.out.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    else:
        {"locate": locate, "run": run, "compare": compare}[options.command](options)


if __name__ == "__main__":
    main()
