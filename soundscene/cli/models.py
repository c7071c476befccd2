"""The argument MODEL: where something else stands in its place, the message is the command that was meant."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from soundscene.audio.containers import not_audio
from soundscene.audio.folders import AUDIO_SUFFIXES
from soundscene.cli.outputs import keep_inputs
from soundscene.errors import BundleError, ManifestError, SceneError
from soundscene.extras import require
from soundscene.hub import is_reference, local_model

if TYPE_CHECKING:
    from soundscene.predictor import Predictor
    from soundscene.systems.saved import SavedSystem

SUFFIX = ".safetensors"
_MODELS = (SUFFIX, ".onnx")
_LISTS = (".csv", ".tsv")
_BY_LIST = ("predict", "embed")  # commands with --from
_NO_SOUND = ("info", "listen", "serve", "push", "evaluate", "explain", "export", "budget")


def check_model(command: str, model: Path, others: Sequence[str | Path] = (), options: Sequence[str | Path] = ()) -> None:
    """Refuse what is plainly no model, before anything heavy is imported.

    Args:
        command: Name of the command.
        model: What was given as MODEL.
        others: The arguments behind it.
        options: Those that the command cannot do without, and their values, for the message.

    Raises:
        BundleError: It is a folder, a sound file, a manifest or another file that is none, or does not exist though a
            model stands behind it; the message has the right command, as far as it is known.
    """
    if _is_folder(model):
        inside = sorted(model.glob(f"*{SUFFIX}"))
        if len(inside) == 1:
            raise BundleError(
                f"{model}: is a folder; the model in it is a file: {_line(command, inside[0], *others, *options)}"
            )
        if len(inside) > 1:
            names = ", ".join(path.name for path in inside[:5])
            raise BundleError(f"{model}: is a folder with {len(inside)} models ({names}); name one of them")
        what = "is a folder"
    elif model.suffix.lower() in AUDIO_SUFFIXES and not _is_model(model):
        what = "is a sound file"
    elif model.suffix.lower() in _LISTS and not _is_model(model):
        what = "is a list of recordings"
    elif other := _other_kind(model):
        what = f"is {other}"
    elif not os.path.lexists(model):
        what = ""
    else:
        return
    for number, other in enumerate(others):
        if Path(other).suffix.lower() in _MODELS or _is_model(Path(other)):
            rest = _recordings(command, [*others[:number], model, *others[number + 1 :]])
            line = _line(
                "predict" if command == "evaluate" and what == "is a sound file" else command, other, *rest, *options
            )
            raise BundleError(f"{model}: {what or 'does not exist'}, and the model comes first: {line}")
    if not what:  # where it is opened, the message is how to make it
        return
    given = (*others,) if command in _NO_SOUND else _recordings(command, [model, *others])
    meant = _line(command, "MODEL.safetensors", *given, *options)
    raise BundleError(f"{model}: {what}, expected a {SUFFIX} file, which `soundscene train` writes: {meant}")


def _recordings(command: str, words: Sequence[str | Path]) -> list[str | Path]:
    """Return arguments as a command takes them: `predict` takes a list of recordings by --from, `timeline` its folder."""
    found = list[str | Path]()
    for word in words:
        path = Path(word)
        is_list = path.suffix.lower() in _LISTS
        if is_list and command in _BY_LIST:
            found += ["--from", word]
        else:
            found.append(path.parent if is_list and command == "timeline" else word)
    return found


def check_recordings(command: str, model: Path, paths: Sequence[Path]) -> None:
    """Refuse what is plainly no model, and lists of recordings where a command has no option for them.

    Args:
        command: Name of the command.
        model: What was given as MODEL.
        paths: Files and folders.

    Raises:
        SceneError: As `check_model`, or one of them is a list; the message has the command with its folder.
    """
    check_model(command, model, paths)
    for path in paths:
        if path.suffix.lower() in _LISTS and path.is_file():
            meant = _line(command, model, *_recordings(command, paths))
            raise SceneError(f"{path}: is a list of recordings; {command} takes audio files and folders: {meant}")


def _other_kind(path: Path) -> str:
    """Say what a file is by its first bytes that is certainly no model, though its name does not tell; else nothing."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            what = not_audio(file.read(1 << 12))
    except (OSError, ValueError):
        return ""
    return "" if what in ("a model", "an exported model") else what


def leading_models(words: Sequence[str]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Divide what stands behind MODEL into further models and recordings.

    A model is told by its suffix, or is on the Hub, from where it is downloaded.

    >>> leading_models(["b.safetensors", "street.wav"])
    ((PosixPath('b.safetensors'),), ('street.wav',))

    Args:
        words: Arguments behind the first model.
    """
    models = (is_reference(word) or Path(word).suffix.lower() in _MODELS for word in words)
    n = next((n for n, is_model in enumerate(models) if not is_model), len(words))
    return tuple(map(local_model, words[:n])), tuple(words[n:])


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder; one that cannot be looked at gets its message where it is opened."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long a name, no permission, a null byte
        return False


def load_predictor(model: Path, head: Literal["svm", "softmax"] | None, device: str) -> "Predictor":
    """Load a model, and put its networks on a device.

    Args:
        model: Model file, or an exported one, which computes on the CPU.
        head: Classifier; by default the recipe's choice.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        SceneError: The model cannot be read, or there is no such device.
    """
    from soundscene.predictor import load

    return load(model, head, device=device)


def load_saved(
    command: str, model: Path, head: Literal["svm", "softmax"] | None = None, device: str = "cpu"
) -> "SavedSystem | None":
    """Load a saved system; None where the file is something else.

    Args:
        command: Name of the command.
        model: Model file.
        head: Classifier; by default the system's own.
        device: Where it shall compute: saved systems have the CPU only.

    Raises:
        SceneError: It cannot be loaded, has no such head, or another device was named.
    """
    if model.suffix.lower() == _MODELS[1]:
        return None
    from soundscene.bundle import is_system

    if not is_system(model):
        return None
    require(command, "experiment")
    from soundscene.compute import DEVICES
    from soundscene.systems.saved import load_system

    if device not in ("auto", "cpu"):
        known = "a saved system computes on the CPU" if device in DEVICES else f"allowed are {', '.join(DEVICES)}"
        raise SceneError(f"--device {device}: {known}")
    return load_system(model).checked(model, head)


def check_manifest(manifest: Path, out: Path) -> None:
    """Refuse a model in the place of the manifest of `train`.

    Args:
        manifest: What was given as MANIFEST.
        out: What was given as --out.

    Raises:
        ManifestError: It is a model; the message has the right command where manifest and model are swapped.
    """
    if manifest.suffix.lower() != SUFFIX and not _is_model(manifest):
        return
    if out.suffix.lower() in _LISTS or out.is_dir():
        meant = f"soundscene train {shlex.quote(str(out))} --out {shlex.quote(str(manifest))}"
        raise ManifestError(f"{manifest}: is a model, and {out} what it is trained on: {meant}")
    meant = f"soundscene train MANIFEST --out {shlex.quote(str(out))}"
    raise ManifestError(f"{manifest}: is a model; expected a manifest (CSV): {meant}")


def check_scored(model: Path, manifest: Path) -> None:
    """Refuse a sound file in the place of the manifest of `evaluate`.

    Args:
        model: What was given as MODEL.
        manifest: What was given as MANIFEST.

    Raises:
        ManifestError: It is one; the message has the command that was meant.
    """
    if manifest.suffix.lower() in AUDIO_SUFFIXES and manifest.is_file():
        needed = "expected a CSV with the columns path and scene, or a folder of recordings"
        meant = _line("predict", model, manifest)
        raise ManifestError(f"{manifest}: is a sound file, {needed}; to predict its scene: {meant}")


def check_model_out(out: Path, inputs: Sequence[str | Path | None]) -> None:
    """Refuse a model under a name that is no model's, or in the place of what is read; folders have a message later.

    Args:
        out: What was given as --out.
        inputs: Files of the command line.

    Raises:
        SceneError: Of the one or the other.
    """
    keep_inputs({"--out": out}, inputs)
    if out.suffix.lower() != SUFFIX and not _is_folder(out):
        meant = out.with_suffix("" if out.stem.lower().endswith(SUFFIX) else SUFFIX)
        raise SceneError(f"--out {out}: a model file ends in {SUFFIX}, for example {meant}")


def _is_model(path: Path) -> bool:
    """Whether a file begins like safetensors: the length of a header in 8 bytes, then JSON."""
    try:
        if not path.is_file():  # a pipe would block
            return False
        with path.open("rb") as file:
            head = file.read(9)
    except (OSError, ValueError):
        return False
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27


def _line(command: str, *words: str | Path) -> str:
    return shlex.join(["soundscene", command, *map(str, words)])
