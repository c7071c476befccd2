"""The figures of decisions 0089 to 0091: decoding in a child process, evidence of a signal, and passive waiting.

    python -m benchmarks.reading_costs child [--seconds 10] [--rounds 25]
    python -m benchmarks.reading_costs evidence [FOLDER ...]
    python -m benchmarks.reading_costs waiting [--threads 2] [--load 6]

`child`: CPU time of reading one file in each format, decoders included: the mean of some rounds. `evidence`: how many
recordings of folders, and of rendered sound at several levels, have a note of 0090. `waiting`: a training step of the small
recipe with other processes on the cores, as it is, passive, and with less spinning, each in a process of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmarks.reading import write
from soundscene.audio.files import AudioFile, gate_array
from soundscene.audio.folders import sound_files
from soundscene.errors import AudioError, AudioWarning
from soundscene.recipe import AudioRecipe
from soundscene.render.corpus import render_recording
from soundscene.render.scenes import SCENES
from tests.support.budget import cpu_s

NOTES = ("hardly any signal", "holds no signal", "cancel each other")
STEP = """
import time
import numpy as np, torch
from soundscene.network.models import build_network
from soundscene.recipe import Recipe
torch.set_num_threads({threads})
recipe = Recipe().with_settings(["network.hidden=32"])
network = build_network(recipe, 10).train()
frames = recipe.audio.segment_samples // recipe.features.hop
images, target = torch.randn(50, 2, recipe.features.n_bands, frames), torch.arange(50) % 10
times = []
for _ in range(12):
    started = time.perf_counter()
    torch.nn.functional.cross_entropy(network(images), target).backward()
    times.append(time.perf_counter() - started)
print(" ".join(f"{{t:.3f}}" for t in sorted(times[2:])))
"""


def child(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("wav", "flac", "ogg", "mp3", "m4a", "mkv"):
            path = write(Path(folder, f"a.{suffix}"), arguments.seconds, 0)
            started = cpu_s()
            for _ in range(arguments.rounds):  # together, because the time of a living child is known by 10 ms
                for _ in AudioFile(path, AudioRecipe()).blocks():
                    pass
            print(f"{suffix}: {1e3 * (cpu_s() - started) / arguments.rounds:.1f} ms", flush=True)


def evidence(arguments: argparse.Namespace) -> None:
    n, noted = 0, 0
    for path in sound_files(arguments.folders):
        try:
            file = AudioFile(path, AudioRecipe())
            for _ in file.blocks():
                pass
        except AudioError:
            continue
        n, noted = n + 1, noted + any(word in note for note in file.notes for word in NOTES)
    print(f"{noted} of {n} recordings have a note of 0090")
    draw = np.random.default_rng(0)
    for level in (0, -30, -50, -70, -80, -90):
        found = read = 0
        for scene in SCENES:
            x = render_recording(scene, 4.0, 22050, draw) * 10 ** (level / 20)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", AudioWarning)
                with suppress(AudioError):  # below half a step, all of them are zero
                    gate_array(np.rint(x * 32767).astype(np.int16), 22050, AudioRecipe())
                    found += any(NOTES[0] in str(warning.message) for warning in caught)
                    read += 1
        print(f"{level} dB: {found} of {read} rendered scenes in 16 bits have a note, {len(SCENES) - read} are zero")


def waiting(arguments: argparse.Namespace) -> None:
    spin = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(arguments.load)]
    try:
        time.sleep(1)
        for name, environment in (
            ("as it is", {}),
            ("passive", {"OMP_WAIT_POLICY": "PASSIVE"}),
            ("GOMP_SPINCOUNT=1000", {"GOMP_SPINCOUNT": "1000"}),
            ("GOMP_SPINCOUNT=10000", {"GOMP_SPINCOUNT": "10000"}),
        ):
            code = STEP.format(threads=arguments.threads)
            done = subprocess.run(
                [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
            )
            print(f"{name}: steps of {done.stdout.strip()} s", flush=True)
    finally:
        for process in spin:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    several = parser.add_subparsers(required=True)
    own = several.add_parser("child")
    own.add_argument("--seconds", type=float, default=10.0)
    own.add_argument("--rounds", type=int, default=25)
    own.set_defaults(run=child)
    own = several.add_parser("evidence")
    own.add_argument("folders", nargs="*", type=Path)
    own.set_defaults(run=evidence)
    own = several.add_parser("waiting")
    own.add_argument("--threads", type=int, default=2)
    own.add_argument("--load", type=int, default=6)
    own.set_defaults(run=waiting)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
