"""How far exported files are from their model: recordings, the edges of the golden files, and ten minutes, in one table.

python -m benchmarks.onnx_parity MODEL --recordings FOLDER --n 150
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np

from soundscene.audio.folders import sound_files
from soundscene.bundle import load_model
from soundscene.export.check import Parity, Sound, compare, compare_whole, recorded_sounds
from soundscene.export.model_graph import stateful_graph, whole_graph
from soundscene.export.write import facts_of
from soundscene.graph_model import GraphModel, open_session
from soundscene.recipe import AudioRecipe

SEED = 0


def edges(audio: AudioRecipe) -> list[Sound]:
    """Silence and dropouts, a constant, one sample, ten minutes; each beside noise where it alone would be refused."""
    draws = np.random.default_rng(SEED)
    rate, n = audio.sample_rate, audio.segment_samples
    noise = draws.normal(0, 0.05, 5 * n)
    dropouts = noise * (draws.uniform(size=5 * n // 500 + 1).repeat(500)[: 5 * n] > 0.3)
    silence = np.concatenate([np.zeros(2 * n), noise[: 3 * n]])
    impulse = np.zeros(3 * n)
    impulse[n + 7] = 0.5
    sounds = {
        "silence, then noise": silence,
        "dropouts": dropouts,
        "a constant": np.full(3 * n, 0.25),
        "noise on a constant": 0.25 + noise,
        "one sample": impulse,
        "a hair under full scale": np.sign(noise) * 0.9999,
        "24-bit dither": draws.normal(0, 2**-24, 3 * n),
        "ten minutes": draws.normal(0, 0.1, 600 * rate) * np.repeat(draws.uniform(0.01, 1, 600), rate),
    }
    return [Sound(name, samples.astype(np.float32)) for name, samples in sounds.items()]


def line(what: str, form: str, found: Parity) -> str:
    """A row of the table."""
    return (
        f"| {what} | {found.recordings} | {found.segments} | {form} | {found.segment:.1e} | {found.recording:.1e} | "
        f"{found.changed} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--recordings", type=Path, action="append", default=[], help="folder of recordings, repeatable")
    parser.add_argument("--n", type=int, default=150, help="recordings of a folder, drawn")
    words = parser.parse_args()
    model = load_model(words.model)
    facts = facts_of(model, hashlib.sha256(words.model.read_bytes()).hexdigest())
    float32, int8 = (GraphModel(facts, _session(stateful_graph(model, {}, bits))) for bits in (False, True))
    whole = _session(whole_graph(model, {}))
    print("| sound | recordings | segments | file | segment | recording | scenes changed |\n|---|---|---|---|---|---|---|")
    for folder in words.recordings:
        paths = [*sound_files([folder])]
        drawn = np.random.default_rng(SEED).choice(len(paths), min(words.n, len(paths)), replace=False)
        sounds = [*recorded_sounds([paths[i] for i in sorted(drawn)], model)]
        print(line(folder.name, "random blocks", compare(model, float32, sounds)), flush=True)
        print(line(folder.name, "whole", compare_whole(model, whole, sounds)), flush=True)
        print(line(folder.name, "int8, random blocks", compare(model, int8, sounds)), flush=True)
    for sound in edges(model.audio):
        print(line(sound.name, "random blocks", compare(model, float32, [sound])), flush=True)
        if len(sound.samples) < 60 * model.audio.sample_rate:
            print(line(sound.name, "whole", compare_whole(model, whole, [sound])), flush=True)
        print(line(sound.name, "int8, random blocks", compare(model, int8, [sound])), flush=True)


def _session(graph: object) -> object:
    return open_session(graph.SerializeToString())  # pyright: ignore[reportAttributeAccessIssue]


if __name__ == "__main__":
    main()
