"""The shape of a checkout in numbers: files, layers, names, options, functions and docstrings of the package.

    python benchmarks/layout.py BEFORE [AFTER ...]

Each argument is the root of a checkout. Prints one Markdown table with a column for each. Commands are counted in a process
of their own that imports the command line of that checkout; everything else is read from the source.
"""

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef

COMMANDS = """
import json, typer
from soundscene.cli.app import app
group = typer.main.get_group(app)
kinds = ("option", "argument")
count = {
    name: [sum(p.param_type_name == kind and not getattr(p, "hidden", False) for p in command.params) for kind in kinds]
    for name, command in group.commands.items()
}
print(json.dumps(count))
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roots", type=Path, nargs="+", metavar="CHECKOUT")
    roots: list[Path] = parser.parse_args().roots
    columns = [measured(root.resolve()) for root in roots]
    print("|", *(f"| {root.resolve().name}" for root in roots), "|")
    print("|---" * (len(roots) + 1) + "|")
    for row in columns[0]:
        print(f"| {row} |", " | ".join(column[row] for column in columns), "|")


def measured(root: Path) -> dict[str, str]:
    """Row of the table -> value, for one checkout."""
    files = {path: path.read_text(encoding="utf-8") for path in sorted((root / "soundscene").rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in files.items()}
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, Function)]
    return {
        **of_files(root, files),
        "import layers": str(layers(root)),
        "class and type names defined in two modules": names_twice(trees),
        "modules named like a function (commands apart)": modules_like_functions(root, trees),
        **of_commands(root),
        **of_functions(functions),
        **of_docstrings(trees),
        "comment lines per 100 lines": f"{100 * share_of_comments(files):.1f}",
    }


def of_files(root: Path, files: dict[Path, str]) -> dict[str, str]:
    """Numbers of files and lines, of the package and of its two largest packages."""
    lines = {path: text.count("\n") for path, text in files.items()}
    full = {path: n for path, n in lines.items() if n}  # an empty __init__.py is no file that somebody reads
    top = [path for path in full if path.parent == root / "soundscene"]
    packages = {path.parent for path in files if path.parent != root / "soundscene"}
    jobs = {"experiment": "experiment", "batch": "batch", "archive": "batch"}
    counts = {
        name: sum(path.parent.name in jobs and jobs[path.parent.name] == name for path in full)
        for name in ("experiment", "batch")
    }
    return {
        "files with content, lines": f"{len(full)}, {sum(full.values()):,}",
        "lines of a file: median, largest": f"{statistics.median(full.values()):.0f}, {max(full.values())}",
        "packages, modules beside them": f"{len(packages)}, {len(top)}",
        "files of `experiment/`; of `batch/` (0.1.0: `archive/`)": f"{counts['experiment']}; {counts['batch']}",
    }


def layers(root: Path) -> int:
    """Layers of the first import contract."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    return next(len(contract["layers"]) for contract in contracts if contract["type"] == "layers")


def names_twice(trees: dict[Path, ast.Module]) -> str:
    """Public names in CapWords that two modules define, as classes or as type aliases."""
    modules: dict[str, set[Path]] = defaultdict(set)
    for path, tree in trees.items():
        for node in tree.body:
            names = [node.name] if isinstance(node, ast.ClassDef) else assigned(node)
            for name in names:
                if name[:1].isupper() and not name.isupper():
                    modules[name].add(path)
    twice = sorted(name for name, paths in modules.items() if len(paths) > 1)
    return f"{len(twice)} ({', '.join(twice)})" if twice else "0"


def assigned(node: ast.stmt) -> list[str]:
    """Names that a statement at module level assigns."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def modules_like_functions(root: Path, trees: dict[Path, ast.Module]) -> str:
    """Modules at the top of the package with the name of a function outside the command line."""
    functions = {
        node.name
        for path, tree in trees.items()
        for node in tree.body
        if "cli" not in path.relative_to(root).parts and isinstance(node, Function)
    }
    top = {path.stem for path in trees if path.parent == root / "soundscene"}
    top |= {path.parent.name for path in trees if path.parent.parent == root / "soundscene"}
    same = sorted(top & functions)
    return f"{len(same)} ({', '.join(same)})" if same else "0"


def of_commands(root: Path) -> dict[str, str]:
    """Options and arguments of the commands, without --help."""
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    counts: dict[str, list[int]] = json.loads(done.stdout)
    most = max(counts, key=lambda name: counts[name][0])
    return {
        "commands, options of the one with most": f"{len(counts)}, {counts[most][0]} (`{most}`)",
        "`predict`: options, arguments": f"{counts['predict'][0]}, {counts['predict'][1]}",
    }


def of_functions(functions: Sequence[Function]) -> dict[str, str]:
    """Length in lines with the signature and without the docstring, and number of parameters."""
    lengths = sorted(length(node) for node in functions)
    inner = [node for node in functions if "typer." not in ast.unparse(node.args)]
    longest = max(inner, key=lambda node: len(parameters(node)))
    return {
        "functions; lines without docstring: median, p90, largest": f"{len(lengths)}; {statistics.median(lengths):.0f}, "
        f"{lengths[int(0.9 * len(lengths))]}, {lengths[-1]}",
        "longest parameter list, commands apart": f"{len(parameters(longest))} (`{longest.name}`)",
    }


def length(node: Function) -> int:
    """Lines of a function, without its docstring."""
    first = node.body[0]
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if ast.get_docstring(node) is not None else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def parameters(node: Function) -> list[str]:
    """Names of a function's parameters, without self and cls."""
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def of_docstrings(trees: dict[Path, ast.Module]) -> dict[str, str]:
    """How many public functions of two arguments or more have `Args:`, and how many docstrings run on."""
    public = [node for tree in trees.values() for node in public_functions(tree) if len(parameters(node)) >= 2]
    with_args = sum("Args:" in (ast.get_docstring(node) or "") for node in public)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [
        ast.get_docstring(node) or "" for tree in trees.values() for node in ast.walk(tree) if isinstance(node, documented)
    ]
    return {
        "public functions of two arguments or more with `Args:`": f"{with_args} of {len(public)}",
        "docstrings with three semicolons or more": str(sum(text.count(";") >= 3 for text in texts)),
    }


def public_functions(tree: ast.Module) -> Iterator[Function]:
    """Public functions of a module, and public methods of its public classes."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
        for function in inside:
            if isinstance(function, Function) and not function.name.startswith("_"):
                yield function


def share_of_comments(files: dict[Path, str]) -> float:
    """Share of the lines that hold a comment, at their end or alone."""
    lines = [line for text in files.values() for line in text.splitlines()]
    return sum(line.lstrip().startswith("#") or "  # " in line for line in lines) / len(lines)


if __name__ == "__main__":
    main()
