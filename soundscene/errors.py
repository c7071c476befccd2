"""Errors that a user can cause, with one base class: the command line prints them in one line and exits with code 2.

A message says what was given, what is allowed, and the likely cause or next step. Any other exception that reaches the
user is a bug.
"""

from collections.abc import Sequence


class SceneError(Exception):
    """Base of all errors caused by the input.

    Attributes:
        source: Name of the recording in whose place it stands in a list of predictions; empty elsewhere.
    """

    source: str = ""


class AudioError(SceneError):
    """A sound file or an array of samples cannot be used."""


class FormatError(AudioError):
    """A file is in no format that can be decoded, or holds no sound at all."""


class AudioWarning(UserWarning):
    """A recording can be used, but the prediction may be worse; the text says why."""


class ManifestError(SceneError):
    """A manifest, one of its rows, or a split made from it cannot be used."""


class RecipeError(SceneError):
    """A recipe holds an unknown key or a value outside its range."""


class BundleError(SceneError):
    """A model file is damaged, foreign, or from a newer version."""


class BackboneError(SceneError):
    """The weights of a pretrained backbone are missing, damaged, or of something else."""


class TrainingError(SceneError):
    """A corpus or a run folder does not permit the requested training."""


def check_choice(name: str, given: object, allowed: Sequence[str]) -> None:
    """Refuse a value that is not one of a few words.

    Args:
        name: Of the argument.
        given: Its value.
        allowed: The words.

    Raises:
        SceneError: It is another value.
    """
    if not (isinstance(given, str) and given in allowed):
        raise SceneError(f"{name} {repr(given)[:60]}: allowed are {', '.join(allowed)}")


def unexpected(name: str, error: Exception) -> AudioError:
    """Return the error of one recording for an exception that nothing foresaw, so that the run goes on without it.

    Args:
        name: Of the recording.
        error: What was raised.
    """
    text = " ".join(str(error).split())[:200]
    return AudioError(f"{name}: failed unexpectedly ({type(error).__name__}: {text}); leave it out, and please report it")
