"""The posterior of a recording's segments over time, as one pair of axes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from soundscene.plotting.axes import clock_axis
from soundscene.texts import show

MOST_SCENES = 12  # rows; further scenes hardly ever matter, and their names would overlap


def draw_prediction(
    source: str,
    scenes: Sequence[str],
    posterior: Float[np.ndarray, " scene"],
    spans: Sequence[tuple[float, float, Float[np.ndarray, " scene"]]],
    axes: Axes | None = None,
) -> Axes:
    """Draw a row per scene, darker where a segment is more probably of it; the probability of the recording at the right.

    Args:
        source: Name of the recording, for the title.
        scenes: Names.
        posterior: Of the recording.
        spans: Start, end (seconds) and posterior of each segment.
        axes: Axes to draw into; by default new ones of pyplot, which notebooks show.
    """
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.subplots(figsize=(7.0, 0.8 + 0.28 * min(len(scenes), MOST_SCENES)), layout="constrained")[1]
    order = np.argsort(-posterior, kind="stable")[:MOST_SCENES]
    for start_s, end_s, row in spans:
        for place, scene in enumerate(order):
            grey = f"{1 - float(row[scene]):.3f}"
            axes.barh([place], [end_s - start_s], 0.9, left=start_s, color=grey, linewidth=0)
    axes.set_yticks(range(len(order)), [show(str(scenes[int(i)])) for i in order], parse_math=False)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(order)), [f"{posterior[i]:.2f}" for i in order])
    right.tick_params(length=0)
    axes.set_ylim(len(order) - 0.5, -0.5)
    if spans:
        axes.set_xlim(min(s[0] for s in spans), max(s[1] for s in spans))
    axes.grid(visible=False)
    axes.set_title(f"{show(source)}: {show(scenes[int(order[0])])}", loc="left", parse_math=False)
    clock_axis(axes)
    return axes
