"""The last line after Ctrl-C: what an interrupted command leaves behind, and how to go on."""

from collections.abc import Sequence
from pathlib import Path

from soundscene.cli.outputs import is_one_file, option
from soundscene.texts import show

RESUME = "Rerun the same command to resume."
NOTHING = "Nothing was written."
_AT_ONCE = ("scan", "evaluate", "embed", "info", "timeline", "explain", "report", "export", "budget", "backbone")
_OTHERS = {
    "train": RESUME,
    "experiment": RESUME,
    "demo": "Rerun the same command to start again.",
    "push": "Nothing was pushed.",  # it is one commit
    "listen": "No audio was classified.",  # later, Ctrl-C is how it ends
    "serve": "Nothing is served.",
}


def left_behind(words: Sequence[str], written: Sequence[Path]) -> str:
    """Return sentences on what is left of a command that was interrupted, and how to go on.

    Args:
        words: Of its command line.
        written: Files that it has finished.
    """
    command = words[0] if words else ""
    place = option(words, "--out")
    if command == "predict":
        return _of_predict(place, written)
    if command == "timeline" and place is not None and not is_one_file(place):
        return f"Files of finished recordings are kept in {show(place)}; a rerun starts again."
    if command == "push" and option(words, "--card") is not None:
        return _files(written)
    if command == "report" and written:
        return "The report is incomplete; rerun the same command to write it again."
    if command == "timeline" and place is None and not written:
        return f"{NOTHING} With --out FOLDER, the files of finished recordings would be kept."
    return _files(written) if command in _AT_ONCE else _OTHERS.get(command, "")


def _of_predict(place: str | None, written: Sequence[Path]) -> str:
    if place is None:
        return "With --out FOLDER, a rerun would resume."
    if not is_one_file(place):
        return RESUME
    if Path(place) in written:
        return f"{show(place)} is complete."
    return f"{show(place)} was not written; with --out FOLDER, a rerun would resume."


def _files(written: Sequence[Path]) -> str:
    """Name what a command has finished that keeps nothing else."""
    names = ", ".join(show(str(path)) for path in dict.fromkeys(written))
    return f"{names} {'were' if len(set(written)) > 1 else 'was'} written, nothing else." if names else NOTHING
