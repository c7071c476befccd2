"""The picture of the README: a rendered day as a spectrogram, and below it the scenes that a model finds in it.

    python benchmarks/day_picture.py MODEL OUT.png

MODEL is a model of the demo's ten scenes (`make demo` writes one). The day is rendered from a seed that the demo does not
use; three minutes stand for each hour, so it lasts 72 minutes. Printed: the share of the time with the right scene.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import soundscene
from soundscene.recipe import AudioRecipe, FeatureRecipe
from soundscene.render.corpus import render_recording
from soundscene.signal.features import LogSpectrogram
from soundscene.signal.filterbanks import mel_centres_hz
from soundscene.timelines import timeline
from soundscene.types import Samples, Timeline

DAY = (  # scene, hours
    ("night_crickets", 5),
    ("forest_birds", 2),
    ("train_interior", 1),
    ("office", 4),
    ("cafe_babble", 1),
    ("office", 4),
    ("road_traffic", 1),
    ("rain", 2),
    ("fire", 3),
    ("wind", 1),
)
SECONDS_PER_HOUR = 180.0
COLUMN_S = 4.0  # one column of the spectrogram
SEED = 24
RATE = AudioRecipe().sample_rate
TICKS_HZ = (300, 1000, 3000, 8000)


def main() -> None:
    """Render the day, predict it and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    generator = np.random.default_rng(SEED)
    day = np.concatenate([render_recording(scene, hours * SECONDS_PER_HOUR, RATE, generator) for scene, hours in DAY])
    model = soundscene.load(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "day.flac"
        soundfile.write(path, day, RATE)
        prediction = model.predict(path)
    found = timeline(prediction, model.model, model.head)
    print(f"{share_right(found):.1%} of the time right, {len(found.spans)} spans")
    draw(log_mel(day), found, arguments.out)


def share_right(found: Timeline) -> float:
    """Share of the day, by tenths of a second, that lies in a span of the true scene."""
    ends_s = np.cumsum([hours for _, hours in DAY]) * SECONDS_PER_HOUR
    times_s = np.arange(0.05, ends_s[-1], 0.1)
    truth = np.array([scene for scene, _ in DAY])[np.searchsorted(ends_s, times_s)]
    predicted = np.full(len(times_s), "", object)
    for span in found.spans:
        predicted[(times_s >= span.start_s) & (times_s < span.end_s)] = span.scene
    return float(np.mean(predicted == truth))


def log_mel(samples: Samples) -> Float32[np.ndarray, "band column"]:
    """Mean level of each mel band in each column of `COLUMN_S` seconds, in dB."""
    audio = AudioRecipe(segment_s=COLUMN_S)
    spectrogram = LogSpectrogram(audio, FeatureRecipe())
    columns = samples[: len(samples) // audio.segment_samples * audio.segment_samples].reshape(-1, audio.segment_samples)
    images = [spectrogram(np.stack([column, column])[None])[0, 0] for column in columns]
    return np.stack([10 * np.log10(np.exp(image).mean(axis=1)) for image in images], axis=1).astype(np.float32)


@rc_context({"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9})
def draw(levels_db: Float32[np.ndarray, "band column"], found: Timeline, out: Path) -> None:
    """Draw the spectrogram above the spans and write both as a PNG."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1))
    hours = np.arange(levels_db.shape[1] + 1) * COLUMN_S / SECONDS_PER_HOUR
    bands = np.arange(levels_db.shape[0] + 1) - 0.5
    low, high = np.percentile(levels_db, (1, 99.8))
    mesh = above.pcolormesh(hours, bands, levels_db, cmap="magma", vmin=low, vmax=high, rasterized=True)
    centres_hz = mel_centres_hz(len(levels_db), FeatureRecipe().low_hz, RATE / 2)
    above.set_yticks(np.interp(TICKS_HZ, centres_hz, np.arange(len(levels_db))), [f"{hz:,}" for hz in TICKS_HZ])
    above.set(ylabel="Hz", title="a rendered day: log-mel spectrogram")
    figure.colorbar(mesh, ax=above, label="dB", pad=0.01)
    draw_spans(below, found)
    figure.savefig(out, dpi=110, metadata={"Software": None})


def draw_spans(axis: Axes, found: Timeline) -> None:
    """One lane for each scene that occurs, in order of its first span."""
    lanes = list(dict.fromkeys(span.scene for span in found.spans))
    colour = dict(zip(lanes, (f"C{number}" for number in range(len(lanes))), strict=True))
    for span in found.spans:
        start, length = span.start_s / SECONDS_PER_HOUR, (span.end_s - span.start_s) / SECONDS_PER_HOUR
        axis.broken_barh([(start, length)], (lanes.index(span.scene) + 0.1, 0.8), color=colour[span.scene])
    axis.set_yticks(np.arange(len(lanes)) + 0.5, lanes)
    axis.set_ylim(len(lanes), 0)
    axis.grid(axis="x", color="0.85", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xticks(range(0, 25, 3), [f"{hour:02d}:00" for hour in range(0, 25, 3)])
    axis.set_xlim(0, 24)
    axis.set(
        title="soundscene timeline: scene over time",
        xlabel="time of the rendered day (three minutes of sound stand for an hour)",
    )


if __name__ == "__main__":
    main()
