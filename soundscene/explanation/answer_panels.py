"""The panels about the whole recording: what each segment said, the fused answer, and how it grew."""

import numpy as np
from jaxtyping import Int64
from matplotlib.axes import Axes

from soundscene.explanation.recording import RecordingView
from soundscene.plotting.sheet import LOOKS, SMALL_PT, clean

_MARKED = 60  # votes up to which each one has its marker
_LINE_LETTERS = 120  # of a legend's row


def draw_posteriors(axis: Axes, side: Axes, view: RecordingView) -> None:
    """Segment posteriors as shades, scene by seconds, and the fused answer as bars in the same rows."""
    n = len(view.scenes)
    edges = np.append(view.start_s[0], view.start_s + view.segment_s)
    rows = np.arange(n + 1) - 0.5
    axis.pcolormesh(edges, rows, view.posterior.T, cmap="Greys", vmin=0, vmax=1, rasterized=True)
    for start, end in zip(edges[:-1][view.silent], edges[1:][view.silent], strict=True):
        axis.axvspan(start, end, facecolor="none", edgecolor="0.5", hatch="///", linewidth=0)
    axis.set_yticks(np.arange(n), [clean(scene) for scene in view.scenes])
    axis.set(xlim=(edges[0], edges[-1]), ylim=(n - 0.5, -0.5), xlabel="seconds")
    axis.set_title("posterior of each segment alone: white 0, black 1")
    side.barh(np.arange(n), view.answer[-1], color="0.75", edgecolor="black", linewidth=0.6)
    for row, value in enumerate(view.answer[-1]):
        side.text(0.03, row, f"{value:.3f}", va="center", fontsize=SMALL_PT)
    side.set(
        xlim=(0, 1), ylim=(n - 0.5, -0.5), yticks=[], xlabel="probability", title="fused answer,\ncalibrated,\ntempered"
    )


def draw_growth(axis: Axes, side: Axes, view: RecordingView) -> None:
    """The fused answer after each vote, for the scenes that matter, held until the next vote."""
    seconds = np.append(view.heard_s, view.start_s[-1] + view.segment_s)
    few = len(view.heard_s) <= _MARKED
    for scene, look in zip(shown(view), LOOKS, strict=False):
        held = np.append(view.answer[:, scene], view.answer[-1, scene])
        line = axis.plot(seconds, held, drawstyle="steps-post", label=clean(view.scenes[scene]), markersize=4, clip_on=False)
        line[0].set(**(look if few else look | {"marker": ""}))
    axis.set(
        xlim=(view.start_s[0], seconds[-1]),
        ylim=(-0.04, 1.04),
        xlabel="seconds heard",
        ylabel="probability",
        title="the fused answer as it grew: product of all segments so far, tempered",
    )
    axis.grid(color="0.9", linewidth=0.6)
    side.axis("off")


def shown(view: RecordingView) -> Int64[np.ndarray, " line"]:
    """Scenes with a line: the three most probable in the end, and the one that is attributed."""
    best = np.argsort(-view.answer[-1], kind="stable")[:3]
    return best if view.chosen in best else np.append(best, view.chosen)


def legend_rows(view: RecordingView, columns: bool = False) -> int:
    """Rows (or columns) of the legend, so that no name is cut."""
    names = [clean(view.scenes[scene]) for scene in shown(view)]
    wide = max(1, min(len(names), _LINE_LETTERS // (max(map(len, names)) + 10)))
    return wide if columns else -(-len(names) // wide)
