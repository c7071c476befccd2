"""What the noise tracker of 0.2 changes of the images and predictions of 0.1: ordinary sound, and sound after silence.

    python benchmarks/front_end_versions.py MANIFEST [--model MODEL ...] [--gap SECONDS]

Computes both versions of the front-end for each recording; with --gap once more, after a gap of digital silence was put into
each, 1 s after its start. Prints, with and without a note, the largest difference of an image in decibels and, for
each model, the largest difference of a posterior and the number of other scenes. Ends with 1 if a recording without a note
differs by 1e-5 dB or more, or gets another scene.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from soundscene.audio.files import AudioFile
from soundscene.bundle import load_model
from soundscene.data.manifest import Manifest
from soundscene.errors import AudioError
from soundscene.member import networks_of
from soundscene.model import Model
from soundscene.recipe import Recipe
from soundscene.scoring.fusion import product, temper
from soundscene.signal.frontend import FrontEnd
from soundscene.signal.streams import segment_batches
from soundscene.types import Samples, SegmentFeatures

ALLOWED_DB = 1e-5
GAP_AT_S = 1.0


@dataclass
class Differences:
    """What differs between the versions, over some recordings."""

    recordings: int = 0
    image_db: float = 0.0
    posterior: dict[str, float] = field(default_factory=dict)
    other_scenes: dict[str, int] = field(default_factory=dict)

    def add(self, image_db: float, posteriors: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Add a recording: the largest difference of its images, and both posteriors of each model."""
        self.recordings += 1
        self.image_db = max(self.image_db, image_db)
        for name, (one, two) in posteriors.items():
            self.posterior[name] = max(self.posterior.get(name, 0.0), float(np.abs(one - two).max()))
            self.other_scenes[name] = self.other_scenes.get(name, 0) + int(one.argmax() != two.argmax())

    def line(self, title: str) -> str:
        """Return one line."""
        text = f"{title}: {self.recordings} recordings, images differ by at most {self.image_db:.2g} dB"
        for name, difference in self.posterior.items():
            text += f"; {name}: posteriors by at most {difference:.2g}, {self.other_scenes[name]} other scenes"
        return text

    @property
    def wrong(self) -> bool:
        """Whether recordings without a note differ."""
        return self.image_db >= ALLOWED_DB or any(self.other_scenes.values())


def main() -> None:
    """Measure, print, and end with 1 if something differs without a note."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", type=Path, nargs="+", default=[])
    parser.add_argument("--gap", type=float, metavar="SECONDS", nargs="+", default=[])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th recording")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths = [recording.path for recording in Manifest.read(arguments.manifest).recordings][:: arguments.every]
    models = {path.stem: load_model(path) for path in arguments.model}
    if len({str((recipe_of(model).audio, recipe_of(model).features)) for model in models.values()}) > 1:
        parser.error("models of one front-end only: the same audio and features in their recipes")
    wrong = [compare(paths, models, gap_s) for gap_s in (None, *arguments.gap)]
    sys.exit(int(any(wrong)))


def compare(paths: Sequence[Path], models: dict[str, Model], gap_s: float | None) -> bool:
    """Print what differs on some files.

    Args:
        paths: Files of sound.
        models: Models by name, of one front-end.
        gap_s: Length of the digital silence to put into each, s.

    Returns:
        Whether something differs without a note.
    """
    recipe = recipe_of(next(iter(models.values()))) if models else Recipe()
    plain, noted = Differences(), Differences()
    for path in paths:
        samples = read(path, recipe)
        if gap_s is not None:
            first = round(GAP_AT_S * recipe.audio.sample_rate)
            samples[first : first + round(gap_s * recipe.audio.sample_rate)] = 0
        old, _ = images(samples, recipe, 1)
        new, note = images(samples, recipe, 2)
        voting = ~new.silent
        if not voting.any():
            continue
        posteriors = {
            name: (posterior(model, old.images[voting]), posterior(model, new.images[voting]))
            for name, model in models.items()
        }
        decibels = float(np.abs(old.images - new.images).max()) * 10 / np.log(10)
        (noted if note else plain).add(decibels, posteriors)
    title = "as they are" if gap_s is None else f"with {gap_s:g} s of silence"
    print(plain.line(f"{title}, without a note"), noted.line(f"{title}, with a note"), sep="\n", flush=True)
    return plain.wrong


def read(path: Path, recipe: Recipe) -> Samples:
    """Return the samples of a file as a model receives them; none if it cannot be used."""
    try:
        return np.concatenate([np.zeros(0, np.float32), *AudioFile(path, recipe.audio).blocks()])
    except AudioError as error:
        print(error, file=sys.stderr)
        return np.zeros(0, np.float32)


def images(samples: Samples, recipe: Recipe, version: int) -> tuple[SegmentFeatures, bool]:
    """Return the images of a version, and whether a model of 0.1 would get a note."""
    stream = FrontEnd(recipe.audio, recipe.features, version=version).stream()
    (segments,) = segment_batches(stream, [samples], len(samples))
    return segments, bool(stream.notes(trained_with=1))


def posterior(model: Model, voting: np.ndarray) -> np.ndarray:
    """Return the posterior of a recording by the images of its voting segments."""
    log_posterior = model.classify(model.embed((voting,)), model.head)
    return np.exp(temper(product(log_posterior), model.temperature[model.head]))


def recipe_of(model: Model) -> Recipe:
    """Return the recipe of a model of one network."""
    return networks_of(model.members)[0].recipe


if __name__ == "__main__":
    main()
