"""A prediction as a card for notebooks: the scene, a player, bars, and the notes; nothing from the network."""

import base64
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from soundscene.texts import show
from soundscene.types import clock

MOST_EMBEDDED = 3_000_000  # bytes of a sound file that a card carries, so that a notebook of many stays small
NO_PLAYER = "no player: the first recordings of a list have one"
PLAYED = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".webm": "audio/webm",
}
"""Suffixes of what browsers play, with their media types."""


def card(
    source: str,
    duration_s: float,
    scenes: Sequence[tuple[str, float]],
    notes: Sequence[str] = (),
    unknown: bool = False,
    player: bool = True,
) -> str:
    """Return a prediction as one HTML element that needs nothing but itself.

    Args:
        source: Path of the recording, or the name of an array.
        duration_s: Its length, seconds.
        scenes: The most probable scenes with their probabilities, at least one.
        notes: Of the prediction.
        unknown: Whether the recording is like none of the known scenes.
        player: Whether it holds the sound.
    """
    name, probability = scenes[0]
    sound, kind, why_silent = _sound(Path(source)) if player else ("", "", NO_PLAYER)
    return _template().render(
        headline=f"unknown (nearest: {show(name)})" if unknown else f"{show(name)} {probability:.2f}",
        source=show(source),
        duration=clock(duration_s),
        sound=sound,
        kind=kind,
        why_silent=why_silent,
        scenes=[(show(scene), p) for scene, p in scenes],
        notes=[show(note) for note in notes],
    )


def error_card(message: str) -> str:
    """Return the reason why a source has no prediction as one HTML element.

    Args:
        message: One line of plain text.
    """
    text = Environment(autoescape=True).from_string('<div style="font-family:sans-serif;margin:.4em 0">{{ text }}</div>')
    return text.render(text=show(message))


@cache
def _template() -> Template:
    text = files("soundscene.plotting").joinpath("card.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(text)


def _sound(path: Path) -> tuple[str, str, str]:
    """Return a file as base64 with its media type, or why there is no player."""
    kind = PLAYED.get(path.suffix.lower(), "")
    try:
        if not (kind and path.is_file()):
            return "", "", ""
        size = path.stat().st_size
        if size > MOST_EMBEDDED:
            return "", "", f"no player: the file has {size / 1e6:.1f} MB, and a card carries {MOST_EMBEDDED / 1e6:g} at most"
        return base64.b64encode(path.read_bytes()).decode(), kind, ""
    except (OSError, ValueError):  # gone, or a name that no file can have
        return "", "", ""
