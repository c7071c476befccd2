"""Install each extra in a fresh environment, run a command that needs it, and print the table of docs/release.md.

    python -m benchmarks.extras [--extras none,av,...] [--ends lowest,newest] [--python 3.13] [--torch 2.6.0] [--in FOLDER]

The wheel is built first, without an editable install. "lowest" takes the lowest versions of direct dependencies that
pyproject.toml allows, "newest" what resolves today. PyTorch is the build that is installed here at both ends, unless
--torch names another: those of the default index bring several GB of CUDA libraries. Megabytes are those of the installed
packages without byte code; Python's own files are not counted. Needs uv, which the extra `dev` brings.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from soundscene.bundle import save_model
from soundscene.extras import EXTRAS
from tests.support.installed import normal, requirements
from tests.support.tiny import blank_bundle, write_corpus

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures_0_1_0"
CORE = "none"
ENDS = {"lowest": "lowest-direct", "newest": "highest"}
BESIDE = {"plot": "onnx", "parquet": "onnx", "serve": "onnx", "hub": "torch"}  # what alone has no command needs a model
LIMIT_S = 900

Run = Callable[..., str]
"""Runs `soundscene` with some words and returns what it printed; `stdin` is a file."""


class TrialError(Exception):
    """A command of this script ended with an error."""


@dataclass(frozen=True)
class Trial:
    """What came of one extra in one environment.

    Attributes:
        extra: Its name, or `none`.
        end: `lowest` or `newest`.
        versions: Of the direct dependencies, by name.
        megabytes: Of the installed packages, without those that only the command needs.
    """

    extra: str
    end: str
    versions: dict[str, str]
    megabytes: float


def main() -> None:
    """Try what the options name, and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default=",".join((CORE, *EXTRAS)))
    parser.add_argument("--ends", default=",".join(ENDS))
    parser.add_argument("--python", default=sys.executable, help="interpreter or version")
    parser.add_argument("--torch", default=version("torch"), help="version")
    parser.add_argument("--in", type=Path, dest="folder", help="kept; by default a temporary folder, which is not")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        wheel = build(folder)[1]
        inputs = make_inputs(folder / "inputs")
        print("| extra | end | MB | versions |\n|---|---|---:|---|", flush=True)
        for extra in options.extras.split(","):
            for end in options.ends.split(","):
                environment = folder / f"{extra}-{end}"
                try:
                    print(row(attempt(environment, wheel, extra, end, inputs, options.python, options.torch)), flush=True)
                except TrialError as error:
                    print(f"| {extra} | {end} | FAILED: {str(error)[-600:]} |", flush=True)


def row(trial: Trial) -> str:
    """Return the row of a trial in Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in trial.versions.items())
    return f"| {trial.extra} | {trial.end} | {trial.megabytes:.0f} | {versions} |"


def attempt(environment: Path, wheel: Path, extra: str, end: str, inputs: Path, python: str, torch: str) -> Trial:
    """Install one extra and run its command.

    Args:
        environment: Folder of the environment to make.
        wheel: The package.
        extra: Its name, or `none`.
        end: A key of `ENDS`.
        inputs: What `make_inputs` wrote.
        python: Interpreter or version.
        torch: Version of PyTorch.

    Raises:
        TrialError: Nothing could be installed, or the command printed something else.
    """
    install(environment, wheel, (extra,), end, python, torch)
    megabytes, versions = size_mb(environment), versions_of(environment, (extra,))
    if extra in BESIDE:
        install(environment, wheel, (extra, BESIDE[extra]), end, python, torch)
    smoke(environment, extra, inputs)
    return Trial(extra, end, versions, megabytes)


# --- packages -------------------------------------------------------------------------------------------------------------


def build(folder: Path) -> tuple[Path, Path]:
    """Build sdist and wheel, the wheel from the sdist, and return their paths."""
    uv("build", "--quiet", "--out-dir", folder / "dist", ROOT)
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return sdist, wheel


def install(environment: Path, wheel: Path, extras: Sequence[str], end: str, python: str, torch: str) -> None:
    """Install the package with some extras, at one end of the ranges of pyproject.toml.

    Args:
        environment: Folder of the environment, made if it is missing.
        wheel: The package.
        extras: Names; `none` is no extra.
        end: A key of `ENDS`.
        python: Interpreter or version.
        torch: Version of PyTorch.
    """
    if not environment.exists():
        uv("venv", "--quiet", "--python", python, environment)
    wanted, held = environment / "wanted.txt", environment / "held.txt"
    wanted.write_text("".join(f"{line}\n" for line in direct(extras)), encoding="utf-8")
    held.write_text(f"torch=={torch}\n", encoding="utf-8")
    uv(
        *("pip", "install", "--quiet", "--python", interpreter(environment), "--resolution", ENDS[end], *indexes()),
        *("--constraint", held, "--requirement", wanted, wheel),
    )


def direct(extras: Sequence[str]) -> list[str]:
    """Return the lines of pyproject.toml that an installation with some extras asks for."""
    names = [None, *(extra for extra in extras if extra != CORE)]
    return sorted({str(requirement) for extra in names for requirement in requirements(extra)})


def versions_of(environment: Path, extras: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of what the extras ask for, of the core where there is none."""
    frozen = uv("pip", "freeze", "--quiet", "--python", interpreter(environment))
    installed = {normal(name): number for name, number in re.findall(r"^([\w.-]+)==(\S+)$", frozen, re.MULTILINE)}
    asked = [normal(r.name) for extra in extras for r in requirements(None if extra == CORE else extra)]
    return {name: installed[name] for name in sorted(set(asked)) if name in installed}


def size_mb(environment: Path) -> float:
    """Return the megabytes of the installed packages, without byte code."""
    files = (path for path in environment.rglob("site-packages/**/*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc") / 1e6


def indexes() -> Iterator[str]:
    """Yield the places of files that pip is configured with, which uv does not read."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    for places in set(re.findall(r"find-links='(.+)'$", listed.stdout, re.MULTILINE)):
        for place in places.split():
            yield from ("--find-links", place)


def interpreter(environment: Path) -> Path:
    """Return the interpreter of an environment."""
    return environment / "bin" / "python"


def uv(*words: str | Path) -> str:
    """Run uv and return what it printed."""
    return run([sys.executable, "-m", "uv", *words], UV_PYTHON_DOWNLOADS="never")


def run(words: Sequence[str | Path], cwd: Path | None = None, stdin: Path | None = None, **variables: str) -> str:
    """Run a command and return what it printed, stdout before stderr.

    Args:
        words: Of the command.
        cwd: Folder to run it in.
        stdin: File that it reads; by default nothing.
        **variables: Of its environment.

    Raises:
        TrialError: It ended with an error; the message ends with what it printed.
    """
    with (stdin or Path(os.devnull)).open("rb") as file:
        done = subprocess.run(
            list(map(str, words)),
            capture_output=True,
            check=False,
            cwd=cwd,
            stdin=file,
            timeout=LIMIT_S,
            env=clean_environment() | variables,
        )
    printed = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode:
        raise TrialError(f"{' '.join(map(str, words))}: {printed.strip()}")
    return printed


def clean_environment() -> dict[str, str]:
    """Return the variables of this process without those that would let an environment see this checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "COLUMNS")}


# --- commands -------------------------------------------------------------------------------------------------------------


def make_inputs(folder: Path) -> Path:
    """Write a corpus, a model, the same model exported and an m4a, with this environment; return the folder."""
    import av
    import numpy as np

    from soundscene.export.write import export_model

    manifest = write_corpus(folder / "corpus")
    save_model(blank_bundle(), folder / "m.safetensors")
    export_model(folder / "m.safetensors", folder / "m.onnx")
    (folder / "moving" / "rain").mkdir(parents=True, exist_ok=True)
    with av.open(str(folder / "moving" / "rain" / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        noise = np.random.default_rng(0).normal(0, 0.1, (1, 44100)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.sample_rate = 44100
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return manifest.parents[1]


def smoke(environment: Path, extra: str, inputs: Path) -> None:
    """Run the command of an extra in its environment.

    Args:
        environment: Where it is installed.
        extra: Its name, or `none`.
        inputs: What `make_inputs` wrote.

    Raises:
        TrialError: The command failed, or printed something else.
    """
    work = environment / "work"
    work.mkdir(exist_ok=True)
    program = environment / "bin" / "soundscene"
    if extra == "serve":
        _serve(program, inputs, work)
        return
    words, expected, stdin = SMOKES.get(extra, (("--version",), "soundscene ", None))
    filled = [word.replace("IN/", f"{inputs}/").replace("FIXTURES/", f"{FIXTURES}/") for word in words]
    printed = run([program, *filled], work, inputs / stdin if stdin else None)
    if expected not in printed:
        raise TrialError(f"{' '.join(filled)}: expected {expected!r}, got {printed!r}")
    if extra not in SMOKES:  # an extra that came later: at least its modules are there
        run([interpreter(environment), "-c", f"import {', '.join(EXTRAS[extra])}"])


WAV = "IN/corpus/rain/0.wav"
# extra: words, what is printed, and a file for stdin
SMOKES: dict[str, tuple[tuple[str, ...], str, str | None]] = {
    CORE: (("scan", "IN/corpus", "--out", "m.csv", "--force"), "m.csv: 15 recordings of 3 scenes", None),
    "torch": (("predict", "IN/m.safetensors", WAV, "--json"), '"scene"', None),
    "plot": (("timeline", "IN/m.onnx", WAV, "--picture", "t.png"), "share of time", None),
    "parquet": (("timeline", "IN/m.onnx", WAV, "--parquet", "t.parquet"), "share of time", None),
    "av": (("scan", "IN/moving", "--out", "m.csv", "--force"), "m.csv: 1 recordings of 1 scenes", None),
    "onnx": (("predict", "IN/m.onnx", WAV, "--json"), '"scene"', None),
    "live": (("listen", "IN/m.safetensors", "--stdin", "--format", "jsonl"), '"scene"', "corpus/rain/0.wav"),
    "hub": (("push", "IN/m.safetensors", "me/m", "--card", "card.md"), "card.md", None),
    "train": (
        ("train", "IN/corpus/manifest.csv", "--out", "t.safetensors", "--recipe", "FIXTURES/recipe.toml"),
        "3 scenes",
        None,
    ),
    "explain": (("explain", "IN/m.safetensors", WAV, "--out", "e.html"), "e.html: ", None),
    "report": (("report", "FIXTURES/run", "--out", "report"), "report.html", None),
    "experiment": (
        ("experiment", "IN/corpus/manifest.csv", "--systems", "hog", "--splits", "folds=2", "--out", "run"),
        "2 of 2 trainings have a result",
        None,
    ),
    "ray": (("predict", "IN/m.safetensors", WAV, "--cluster", "local", "--out", "rows"), "rows", None),
}


def _serve(program: Path, inputs: Path, work: Path) -> None:
    """Start the server, ask it for a prediction, and end it."""
    words = [str(program), "serve", str(inputs / "m.onnx"), "--port", "0"]
    server = subprocess.Popen(
        words, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=clean_environment()
    )
    assert server.stdout is not None
    try:
        place = re.search(r"http://\S+", server.stdout.readline())
        if place is None:
            raise TrialError(f"{' '.join(words)}: ended without an address")
        with urllib.request.urlopen(
            f"{place[0]}/v1/predict", (inputs / "corpus" / "rain" / "0.wav").read_bytes()
        ) as response:
            text = response.read().decode()
        if '"scene"' not in text:
            raise TrialError(f"{place[0]}: {text}")
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()


if __name__ == "__main__":
    main()
