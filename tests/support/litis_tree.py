"""A corpus of the shape of LITIS Rouen: its 19 scenes and their numbers, with names alone or with rendered sound."""

import zlib
from pathlib import Path

import numpy as np

from soundscene.render.corpus import render_recording
from soundscene.render.scenes import SCENES
from tests.support.tiny import RATE, write

COUNTS = {  # sums to 3026; where they are from: docs/decisions/0052-litis.md
    **{"avion": 23, "bus": 192, "busystreet": 143, "cafe": 120, "car": 243, "hall": 88, "hallgare": 269, "kidgame": 145},
    **{"market": 276, "metro-paris": 139, "metro-rouen": 249, "poolhall": 155, "quietstreet": 90, "restaurant": 133},
    **{"ruepietonne": 122, "shop": 203, "train-ter": 164, "train-tgv": 147, "tubestation": 125},
}


def names() -> list[str]:
    """All 3026 names; the numbers run from 1 within a scene."""
    return [f"{scene}{number}.wav" for scene, n in COUNTS.items() for number in range(1, n + 1)]


def write_litis(folder: Path, n_per_scene: int, seconds: float) -> Path:
    """`n_per_scene` rendered recordings of each of the 19 scenes, flat in the folder; the folder.

    Ten scenes can be rendered; the other nine are the same played 1.5 times as fast, and so sound different.
    """
    rendered = sorted(SCENES)
    for index, scene in enumerate(COUNTS):
        speed = 1.5 if index >= len(rendered) else 1.0
        for number in range(1, n_per_scene + 1):
            draws = np.random.default_rng([zlib.crc32(scene.encode()), number])
            samples = render_recording(rendered[index % len(rendered)], seconds * speed, round(RATE / speed), draws)
            write(folder / f"{scene}{number}.wav", samples)
    return folder
