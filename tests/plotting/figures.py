"""A figure with everything that SVG rules are about: ids, clip paths, hatches, pixels, markers and names of any kind."""

import numpy as np
from matplotlib.figure import Figure

from soundscene.plotting.style import line_style, styled

NAMES = ("<b>bold</b> & $x^2$", "market \x01", "駅前の広い交差点", "tube 😀")


@styled
def small_figure() -> Figure:
    figure = Figure(figsize=(4, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    look = line_style(1)
    left.plot([0, 1, 2], [3, 1, 2], color=look.color, linestyle=look.dashes, marker=look.marker)
    left.axvspan(0.5, 1, hatch="///", facecolor="white")
    left.pcolormesh(np.arange(4), np.arange(3), np.arange(6.0).reshape(2, 3), rasterized=True)
    right.barh(range(len(NAMES)), range(len(NAMES)))
    right.set_yticks(range(len(NAMES)), NAMES)
    return figure
