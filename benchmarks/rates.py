"""The same sound at several sample rates, mono and stereo, as a file, an array and a stream: is it the same prediction?

    python benchmarks/rates.py MODEL MANIFEST --test fold=1 [--recordings N]

Each test recording is resampled (soxr, very high quality) to each rate, as one channel and as two with the left one 6 dB
louder and the right one as much softer as keeps their mean, written as 32-bit float WAV, and predicted in three ways.
The reference is the mono file at the recipe's rate. Printed: recordings with another scene, the largest and the median
difference of any posterior from the reference; between the ways at one rate, the largest difference; and the accuracy, which
is what a low rate costs.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from jaxtyping import Float32, Float64

import soundscene
from soundscene.data.manifest import Manifest, parse_test
from soundscene.errors import AudioWarning
from soundscene.prediction import ScenePrediction
from soundscene.types import Recording

RATES_HZ = (8000, 16000, 22050, 32000, 44100, 48000, 96000)
CHANNELS = (1, 2)
BLOCK = 1000  # samples in a block of the stream
LONGEST_WINDOW_S = 3600.0  # longer than any recording here: the stream forgets nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--test", required=True, help="rows that the model was not trained on, as fold=1")
    parser.add_argument("--recordings", type=int, default=0, help="at most so many, spread over the test part (0: all)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", AudioWarning)  # counted, not printed
    torch.set_num_threads(1)
    model = soundscene.load(arguments.model)
    listed = Manifest.read(arguments.manifest)
    test = listed.split(*parse_test(arguments.test)).test
    if arguments.recordings:
        test = test[:: max(1, len(test) // arguments.recordings)][: arguments.recordings]
    print(f"{arguments.manifest.parent.name}, test {arguments.test}, {len(test)} recordings, torch {torch.__version__}\n")
    reference = np.stack([predict(model, at_rate(r, model.model.audio.sample_rate), "file").posterior for r in test])
    truth = np.array([model.scenes.index(r.scene) for r in test])
    print(
        "| Hz | channels | another scene | largest difference | median | file, array, stream: largest | warned | accuracy |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for rate in RATES_HZ:
        for channels in CHANNELS:
            print(row(model, test, truth, reference, rate, channels), flush=True)


def row(
    model: soundscene.Predictor,
    test: tuple[Recording, ...],
    truth: np.ndarray,
    reference: Float64[np.ndarray, "recording scene"],
    rate: int,
    channels: int,
) -> str:
    """A line of the table."""
    posteriors, apart, warned = [], 0.0, 0
    for recording in test:
        sound = with_channels(at_rate(recording, rate)[0], channels)
        ways = [predict(model, (sound, rate), way) for way in ("file", "array", "stream")]
        rows = np.stack([way.posterior for way in ways])
        apart = max(apart, float(np.abs(rows - rows[0]).max()))
        warned += any("below the recipe's" in note for note in ways[0].notes)
        posteriors.append(rows[0])
    found = np.stack(posteriors)
    away = np.abs(found - reference).max(axis=1)
    other = int((found.argmax(axis=1) != reference.argmax(axis=1)).sum())
    return (
        f"| {rate} | {channels} | {other} of {len(test)} | {away.max():.2g} | {np.median(away):.2g} | {apart:.1g} | "
        f"{warned} | {(found.argmax(axis=1) == truth).mean():.3f} |"
    )


def at_rate(recording: Recording, rate: int) -> tuple[Float32[np.ndarray, " sample"], int]:
    """The recording, mono, at a rate in Hz."""
    samples, native = soundfile.read(recording.path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), native, rate, "VHQ").astype(np.float32), rate


def with_channels(mono: Float32[np.ndarray, " sample"], channels: int) -> Float32[np.ndarray, "channel sample"]:
    """One channel, or two of different level whose mean is the one."""
    return mono[None] if channels == 1 else np.stack([mono * np.float32(1.5), mono * np.float32(0.5)])


def predict(model: soundscene.Predictor, sound: tuple[np.ndarray, int], way: str) -> ScenePrediction:
    """Predict in one of three ways; the stream's prediction is that of its last update, over all of it."""
    samples, rate = sound
    if way == "array":
        return model.predict((samples, rate))
    if way == "file":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sound.wav"
            soundfile.write(path, np.atleast_2d(samples).T, rate, "FLOAT")
            return model.predict(path)
    blocks = (samples[:, at : at + BLOCK] for at in range(0, samples.shape[1], BLOCK))
    updates = [u for u in model.stream(blocks, rate, window_s=LONGEST_WINDOW_S) if u.posterior is not None]
    last, posterior = updates[-1], updates[-1].posterior
    assert posterior is not None
    return ScenePrediction("stream", last.heard_s, model.scenes, posterior, (), last.notes)


if __name__ == "__main__":
    sys.exit(main())
