"""The prediction of a recording, as the command line, notebooks and programs show it."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from soundscene.errors import SceneError
from soundscene.frames import data_frame
from soundscene.texts import counted, short, show
from soundscene.types import Compared, clock, is_unknown

if TYPE_CHECKING:
    from soundscene.plotting.prediction_figure import Axes

UNKNOWN = "unknown"  # in place of a scene
_FACTS = ("path", "duration_s", "scene", "probability", "unknown", "notes", "error")  # columns of a list of predictions
MOST_CARDS, MOST_PLAYERS = 20, 3  # of a list shown in a notebook; a player holds its sound, up to some MB


@dataclass(frozen=True, eq=False, repr=False)
class SegmentPrediction(Compared):
    """Posterior [scene] of one segment, from start_s to end_s (seconds)."""

    start_s: float
    end_s: float
    posterior: Float[np.ndarray, " scene"]

    def __repr__(self) -> str:
        """Return one line: times, and the largest probability with the number of its scene."""
        best = int(np.argmax(self.posterior))
        return f"<SegmentPrediction {self.start_s:g} to {self.end_s:g} s: {self.posterior[best]:.2f} for scene {best}>"


@dataclass(frozen=True, eq=False, repr=False)
class ScenePrediction(Compared):
    """Prediction for one recording.

    Attributes:
        source: The path, or a name for an array.
        duration_s: Length of the recording in seconds.
        scenes: Names in the order of `posterior`.
        posterior: Probability of each scene, [scene].
        segments: One per 2-second segment that voted.
        notes: What may make the prediction worse (low sample rate, silence).
        unfamiliarity: How unlike the model's training the recording is, the mean over its segments. Larger is less familiar
            (scale: `scoring.unfamiliarity.Familiarity.score`). None if the model has no unknown detection.
        unfamiliarity_threshold: Score at or below which the requested share of known recordings is. None if unavailable.
    """

    source: str
    duration_s: float
    scenes: tuple[str, ...]
    posterior: Float[np.ndarray, " scene"]
    segments: tuple[SegmentPrediction, ...]
    notes: tuple[str, ...] = ()
    unfamiliarity: float | None = None
    unfamiliarity_threshold: float | None = None

    @property
    def unknown(self) -> bool:
        """Whether the recording is less familiar than the threshold; `scene` is the best known scene in any case."""
        return is_unknown(self.unfamiliarity, self.unfamiliarity_threshold)

    @property
    def scene(self) -> str:
        """Name of the most probable scene."""
        return self.scenes[int(np.argmax(self.posterior))]

    @property
    def probability(self) -> float:
        """Probability of the most probable scene."""
        return float(np.max(self.posterior))

    def top(self, n: int = 3) -> list[tuple[str, float]]:
        """Return the most probable scenes with their probabilities, the first first.

        Args:
            n: How many, at most.
        """
        order = np.argsort(-self.posterior, kind="stable")[: max(n, 0)]
        return [(self.scenes[i], float(self.posterior[i])) for i in order]

    def to_dict(self, with_segments: bool = False, label_unknown: bool = False) -> dict[str, Any]:
        """Convert to plain values for JSON, the source as "path", seconds to the millisecond.

        Args:
            with_segments: Whether to include the segments.
            label_unknown: Whether the scene of an out-of-distribution recording is `UNKNOWN`, without a probability.
        """
        plain: dict[str, Any] = {
            "path": self.source,
            "duration_s": round(self.duration_s, 3),
            "scene": self.scene,
            "probability": self.probability,
            "posterior": self._named(self.posterior),
            "unfamiliarity": self.unfamiliarity,
            "unfamiliarity_threshold": self.unfamiliarity_threshold,
            "unknown": self.unknown,
            "notes": list(self.notes),
        }
        if label_unknown and self.unknown:
            plain |= {"scene": UNKNOWN, "probability": None}
        if with_segments:
            plain["segments"] = [
                {"start_s": s.start_s, "end_s": s.end_s, "posterior": self._named(s.posterior)} for s in self.segments
            ]
        return plain

    def to_frame(self, library: str | None = None) -> Any:
        """Return a data frame with a row per segment: start_s, end_s, scene, probability, and a column for each scene.

        A scene that has the name of another column has the column p(NAME).

        Args:
            library: "pandas" or "polars"; by default the one that the program has imported, else the one that is there.

        Raises:
            SceneError: Neither is installed.
        """
        first = ("start_s", "end_s", "scene", "probability")
        names = scene_columns(self.scenes, first)
        rows = [
            {"start_s": s.start_s, "end_s": s.end_s, **_winner(self.scenes, s.posterior)}
            | dict(zip(names, map(float, s.posterior), strict=True))
            for s in self.segments
        ]
        return data_frame(rows, (*first, *names), library)

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Draw the posterior of every segment over time, the most probable scene at the top.

        Args:
            axes: Axes to draw into, by default new ones.

        Returns:
            The axes.
        """
        from soundscene.plotting.prediction_figure import draw_prediction

        spans = [(s.start_s, s.end_s, s.posterior) for s in self.segments]
        return draw_prediction(self.source, self.scenes, self.posterior, spans, axes)

    def __repr__(self) -> str:
        """Return one line: source, the three most probable scenes, duration, and how many notes there are.

        >>> ScenePrediction("street.wav", 61.0, ("beach", "street"), np.array([0.1, 0.9]), ())
        <ScenePrediction street.wav: street 0.90, beach 0.10; 0:01:01>
        """
        scenes = ", ".join(f"{short(show(name))} {p:.2f}" for name, p in self.top())
        notes = f", {counted(len(self.notes), 'note')}" if self.notes else ""
        unknown = "unknown; nearest: " if self.unknown else ""
        return f"<ScenePrediction {short(show(self.source))}: {unknown}{scenes}; {clock(self.duration_s)}{notes}>"

    def _repr_html_(self) -> str | None:
        """Return a card with player and bars for notebooks; None, that is the plain text, without the extra `plot`."""
        return self._card(player=True)

    def _card(self, player: bool) -> str | None:
        if find_spec("jinja2") is None:
            return None
        from soundscene.plotting.card import card

        return card(self.source, self.duration_s, self.top(5), self.notes, self.unknown, player)

    def _named(self, posterior: Float[np.ndarray, " scene"]) -> dict[str, float]:
        return dict(zip(self.scenes, map(float, posterior), strict=True))


class Predictions(list["ScenePrediction | SceneError"]):
    """A list of predictions, in the order of the sources; an error stands where a source gave none."""

    def to_frame(self, library: str | None = None) -> Any:
        """Return a data frame with a row per source.

        Columns: path, duration_s, scene, probability, unknown, notes, error, and one for each scene: p(NAME) for a scene
        that has the name of another column.

        Args:
            library: As in `ScenePrediction.to_frame`.

        Raises:
            SceneError: Neither pandas nor polars is installed.
        """
        scenes = list(dict.fromkeys(s for p in self if isinstance(p, ScenePrediction) for s in p.scenes))
        named = dict(zip(scenes, scene_columns(scenes, _FACTS), strict=True))
        return data_frame([_row(p, named) for p in self], (*_FACTS, *named.values()), library)

    def __getitem__(self, chosen: Any) -> Any:
        """Return one prediction, or those of a slice as `Predictions`."""
        found = super().__getitem__(chosen)
        return Predictions(found) if isinstance(chosen, slice) else found

    def __add__(self, other: Any) -> "Predictions":  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return both lists as one."""
        if not isinstance(other, list):
            return NotImplemented
        return Predictions([*self, *other])

    def _repr_html_(self) -> str | None:
        cards = [
            p._card(player=number < MOST_PLAYERS) if isinstance(p, ScenePrediction) else _escaped(p)
            for number, p in enumerate(self[:MOST_CARDS])
        ]
        if any(card is None for card in cards):
            return None
        rest = f"<p>and {len(self) - MOST_CARDS} more</p>" if len(self) > MOST_CARDS else ""
        return "".join(card or "" for card in cards) + rest


def scene_columns(scenes: Iterable[str], taken: Container[str]) -> tuple[str, ...]:
    """Return the names of the columns of scenes: p(NAME) for a scene that has the name of another column.

    Args:
        scenes: In order.
        taken: Names of the other columns.
    """
    return tuple(f"p({scene})" if scene in taken else scene for scene in scenes)


def _winner(scenes: Sequence[str], posterior: Float[np.ndarray, " scene"]) -> dict[str, Any]:
    best = int(np.argmax(posterior))
    return {"scene": scenes[best], "probability": float(posterior[best])}


def _row(prediction: "ScenePrediction | SceneError", named: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys((*_FACTS, *named.values()))
    if not isinstance(prediction, ScenePrediction):
        return row | {"path": prediction.source, "notes": "", "error": str(prediction)}
    facts = {
        "path": prediction.source,
        "duration_s": prediction.duration_s,
        "scene": prediction.scene,
        "probability": prediction.probability,
        "unknown": prediction.unknown,
        "notes": "; ".join(prediction.notes),
        "error": "",
    }
    return row | facts | {named[scene]: float(p) for scene, p in zip(prediction.scenes, prediction.posterior, strict=True)}


def _escaped(error: SceneError) -> str | None:
    if find_spec("jinja2") is None:
        return None
    from soundscene.plotting.card import error_card

    return error_card(str(error))
