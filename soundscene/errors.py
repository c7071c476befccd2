"""Every error a user can cause, as one family, so that the command line can print it in one line and exit with 2.

A message says what was given, what is allowed, and the likely cause or next step. Anything that is not a
`SceneError` and reaches the user is a bug of ours.
"""


class SceneError(Exception):
    """Base of all errors caused by what the user handed in."""


class AudioError(SceneError):
    """A sound file or an array of samples cannot be used."""


class AudioWarning(UserWarning):
    """A sound can be used, but the answer may suffer; the text says why."""


class ManifestError(SceneError):
    """A manifest, one of its rows, or a split made from it cannot be used."""


class RecipeError(SceneError):
    """A recipe holds an unknown key or a value outside its range."""


class BundleError(SceneError):
    """A model file is damaged, foreign, or from a newer version."""


class TrainingError(SceneError):
    """A corpus or a run folder does not allow the training that was asked for."""
