"""The screen of `soundscene listen`: the current scene, the top three as bars, the last minutes as a strip."""

import math
import re
import string
import time
from collections import deque
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from soundscene.live import Update
from soundscene.texts import counted, show

STRIP_S = 300.0
MOST_CELLS = 400
_BAR = 30  # cells of a probability of 1
_REDRAW_S = 0.5
_CONFIDENT = 0.5  # from this probability on the letter is a capital
_SILENT, _LOST, _NOTHING = ".", "!", "-"
# Letter on ground, each readable in any palette of 16 colours: dark letters on light grounds, white ones on dark grounds.
_STYLES = ("black on bright_yellow", "white on blue", "black on bright_green", "white on magenta", "black on bright_cyan",
           "white on red", "black on white", "white on bright_black", "black on bright_magenta", "white on green",
           "black on bright_blue", "black on bright_red")  # fmt: skip
_LETTERS = string.ascii_lowercase.replace("l", "") + "23456789"  # without those that look like another: l, I, 1; O, 0


@dataclass(frozen=True)
class Counts:
    """What went missing so far.

    Attributes:
        dropouts: How often the device discarded audio.
        overruns: How often the queue was full.
        lost_s: Seconds lost by both, as far as known.
    """

    dropouts: int = 0
    overruns: int = 0
    lost_s: float = 0.0

    def texts(self) -> list[str]:
        """Describe the counts that are not zero."""
        counts = ((self.dropouts, "dropout"), (self.overruns, "overrun"))
        return [f"{counted(n, name)} so far" for n, name in counts if n]


class Screen:
    """The display of a terminal, a context manager.

    No information is in colour alone: each scene has a letter, and the legend lists them.

    Args:
        scenes: Names of the scenes.
        hop_s: Seconds between two updates; each is a cell of the strip.
        console: The terminal; by default that of stdout.
    """

    def __init__(self, scenes: tuple[str, ...], hop_s: float, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._letters = dict(zip(scenes, letters(scenes), strict=True))
        self._styles = {scene: _STYLES[i % len(_STYLES)] for i, scene in enumerate(scenes)}
        self._hop_s = hop_s
        self._cells: deque[tuple[str, bool]] = deque(maxlen=min(MOST_CELLS, max(1, math.ceil(STRIP_S / hop_s))))
        self._last: Update | None = None
        self._counts = Counts()
        self._received_s = 0.0
        self._drawn = -math.inf

    def __enter__(self) -> "Screen":
        self._live.start()
        self._draw()
        return self

    def __exit__(self, *_: object) -> None:
        self._draw()
        self._live.stop()

    def tick(self, received_s: float) -> None:
        """Show that more audio has arrived, but not too often."""
        self._received_s = received_s
        if time.monotonic() - self._drawn >= _REDRAW_S:
            self._draw()

    def add(self, update: Update, counts: Counts) -> None:
        """Show a prediction.

        Args:
            update: The prediction.
            counts: What went missing so far.
        """
        self._last, self._counts, self._received_s = update, counts, update.heard_s
        if update.lost_s:
            cell = (_LOST, False)
        elif update.silent:
            cell = (_SILENT, False)
        else:
            cell = (update.scene or _NOTHING, (update.probability or 0.0) >= _CONFIDENT)
        self._cells.append(cell)
        self._draw()

    def render(self) -> Group:
        """Render the whole screen."""
        parts: list[Text | Table] = [*self._prediction(), Text(), *self._strip(), self._facts()]
        if self._last:
            parts += [Text(show(f"note: {note}")) for note in self._last.notes]
        return Group(*parts)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._live.update(self.render(), refresh=True)

    def _prediction(self) -> list[Text | Table]:
        update = self._last
        if update is None:
            return [Text("listening")]
        if update.scene is None:
            return [Text("no prediction yet: silence" if update.silent else "no prediction yet")]
        full = "█" if self._console.encoding.lower().startswith("utf") else "#"
        bars = Table.grid(padding=(0, 1))
        for scene, p in update.top(3):
            bars.add_row(show(scene), Text(full * round(_BAR * p)), f"{p:.2f}")
        unknown = "  (out-of-distribution)" if update.unknown else ""
        return [Text(show(f"{update.scene}  {update.probability:.2f}{unknown}"), style="bold"), bars]

    def _strip(self) -> list[Text | Table]:
        if not self._cells:
            return []
        strip, legend_of = Text(overflow="fold"), {}
        for what, confident in self._cells:
            letter = self._letters.get(what, what)
            style = self._styles.get(what, "")
            strip.append(letter.upper() if confident else letter, style=f"bold {style}".strip() if confident else style)
            legend_of[what] = letter
        other = {_SILENT: "silence", _LOST: "audio lost", _NOTHING: "no prediction yet"}
        legend = [Text()]
        for what, letter in sorted(legend_of.items(), key=lambda kv: kv[1]):
            entry = Text(f"{letter} {other.get(what, show(what))}")
            entry.stylize(self._styles.get(what, ""), 0, 1)
            if len(legend[-1]) and legend[-1].cell_len + 2 + entry.cell_len > self._console.width:
                legend.append(Text())  # no name is broken
            legend[-1].append_text(Text("  ") + entry if len(legend[-1]) else entry)
        return [
            Text(
                f"the last {clock(self._hop_s * len(self._cells))}, {self._hop_s:g} s per letter "
                f"(capital: {_CONFIDENT:g} or more)"
            ),
            strip,
            *legend,
            Text(),
        ]

    def _facts(self) -> Text:
        counts = self._counts
        facts = f"received {clock(self._received_s)}, {counts.dropouts} dropouts, {counts.overruns} overruns"
        if counts.lost_s:
            facts += f", {counts.lost_s:.2f} s lost"
        if update := self._last:
            facts += f", latency {1000 * update.latency_s:.0f} ms ({1000 * update.delay_s:.0f} ms after the segment's end)"
        return Text(facts)


def letters(scenes: tuple[str, ...]) -> list[str]:
    """Choose a small letter or digit for each scene, from its name where one is free, `#` where none is left.

    First come the initials of its words. None of them looks like another.
    """
    taken: list[str] = []
    for scene in scenes:
        initials = [word[0] for word in re.split(r"[\W_]+", scene.lower()) if word]
        wanted = [c for c in (*initials, *scene.lower()) if c in _LETTERS] + list(_LETTERS)
        taken.append(next((c for c in wanted if c not in taken), "#"))
    return taken


def clock(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds to a tenth, such as 1:02:03.4."""
    tenths = round(10 * seconds)
    return f"{tenths // 36000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"
