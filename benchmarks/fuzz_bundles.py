"""Load and use 1,000 mutated models of both formats, checksum valid, under 2 GB: refused or right, in 2 s and 200 MB."""

import argparse
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz_process import run_cases
from benchmarks.fuzz_texts import KILL_S, NOISE, NUMBERS, OTHERS, change_recipe, one_thread, report, scramble, summarise
from soundscene.bundle import load_model

MEMORY_GB = 2.0  # of address space beyond what the libraries take before the first case
MOST_MB = 200.0
SCENES = ("rain", "café", "駅", "fire", "sea")
Header = dict[str, Any]
Tensors = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument("--cases", type=int, default=1000)


def run(arguments: argparse.Namespace) -> int:
    """Run the cases, print what went wrong and the counts, and return 0 when nothing did."""
    one_thread()
    cases = range(arguments.cases) if arguments.only is None else [arguments.only]
    outcomes = run_cases("benchmarks.fuzz_bundles:limited_reader", (arguments.seed,), cases, KILL_S)
    return summarise(outcomes, "models", arguments.only is not None, MOST_MB)


def seeds() -> list[tuple[Header, Tensors]]:
    """Untrained models of three recipes, each as header and tensors."""
    import torch

    from soundscene.network.models import build_network
    from soundscene.network.svm import CalibratedSVM
    from soundscene.recipe import Recipe

    found: list[tuple[Header, Tensors]] = []
    for settings in ([], ["network.kind=cnn", "features.kind=gammatone"], ["network.pooling=temporal"]):
        recipe = Recipe.small().with_settings(settings)
        torch.manual_seed(0)
        network, n = build_network(recipe, len(SCENES)).eval(), len(SCENES)
        svm = CalibratedSVM(network.softmax.in_features, n)
        svm.weight.normal_()
        svm.slope.fill_(-1.0)
        width = network.softmax.in_features
        tensors = {f"network/{name}": t for name, t in network.state_dict().items()}
        tensors |= {f"svm/{name}": t for name, t in svm.state_dict().items()}
        tensors |= {"familiarity/held": torch.linspace(0.5, 2, 20, dtype=torch.float64)}
        tensors |= {"familiarity/mean": torch.randn(n, width), "familiarity/precision": torch.eye(width)}
        header = {
            "version": 1,
            "recipe": recipe.to_dict(),
            "scenes": list(SCENES),
            "temperature": {"softmax": 1.2, "svm": 0.9},
            "provenance": {"notes": ["fuzz"], "trained_on": ["00ff"], "epoch": 3, "recordings": dict.fromkeys(SCENES, 4)},
            "familiarity": "mahalanobis",
            "front_end": 2,
        }
        found.append((json.loads(json.dumps(header)), {name: t.contiguous() for name, t in tensors.items()}))
    return [*found, _pair(found[0], found[1])]


def _pair(*models: tuple[Header, Tensors]) -> tuple[Header, Tensors]:
    """The members of models of one network, in format 2."""
    header = {key: value for key, value in models[0][0].items() if key not in ("recipe", "front_end")} | {"version": 2}
    header["members"] = [
        {"name": f"member {number}", "kind": "network", "recipe": one["recipe"], "front_end": one["front_end"]}
        for number, (one, _) in enumerate(models)
    ]
    tensors = {"familiarity/held": models[0][1]["familiarity/held"]}
    for number, (_, of_member) in enumerate(models):
        tensors |= {f"members/{number}/{name}": t for name, t in of_member.items() if name != "familiarity/held"}
    return header, tensors


def mutated(seed: int, case: int, models: list[tuple[Header, Tensors]]) -> tuple[str, Tensors, str, bool]:
    """Make the header's text and the tensors of a case, say what was done, and whether it must be refused."""
    draw = np.random.default_rng([seed, case])
    header, tensors = models[case % len(models)]
    header, tensors = json.loads(json.dumps(header)), dict(tensors)
    kind = ("value", "value", "value", "tensor", "tensor", "header", "scenes", "text")[draw.integers(8)]
    what, must = "", False
    if kind == "value":
        what = change_recipe(_member_of(header, draw)["recipe"], draw)
    elif kind == "tensor":
        what, must = _tensor(tensors, draw)
    elif kind == "header":
        within = "members" in header and draw.random() < 0.4
        what = _header(_member_of(header, draw) if within else header, draw)
    elif kind == "scenes":
        what = _scenes(header, draw)
    text = json.dumps(header)
    if kind == "text":
        text, what = (
            scramble(text, draw),
            ("[" * int(draw.integers(100, 10**6)), "deep"),
            (NOISE[draw.integers(len(NOISE))], "noise"),
            (text.replace("1", "9" * int(draw.integers(1, 6000)), 3), "digits"),
        )[draw.integers(4)]
        text = text.encode("utf-8", "replace").decode()
    return text, tensors, what, must


def reader(seed: int) -> Callable[[int], str]:
    """Return the function that writes a case with its checksum, loads it and predicts with it."""
    from safetensors.torch import save

    from soundscene.bundle import FORMAT
    from soundscene.predictor import Predictor, load
    from soundscene.render.corpus import render_recording
    from soundscene.tensors import digest  # the checksum must be right

    path = Path(tempfile.mkdtemp(prefix="fuzz-")) / "m.safetensors"
    samples = render_recording("rain", 4.2, 22050, np.random.default_rng(0)).astype(np.float32)
    models = seeds()

    def use(must: bool) -> str:
        wrong = [_wrong(load(path, head), samples) for head in ("svm", "softmax")]
        return "accepted, though it must be refused" if must else next(filter(None, wrong), "")

    def _wrong(predictor: Predictor, sound: np.ndarray) -> str:
        prediction = predictor.predict((sound, 22050))
        p = prediction.posterior
        if not np.isfinite(p).all() or abs(p.sum() - 1) > 1e-6 or prediction.scene not in predictor.scenes:
            return f"the posterior is {p.tolist()}"
        return ""

    def write(text: str, tensors: Tensors) -> float:
        content = save(tensors, {"format": FORMAT, "bundle": text, "sha256": digest(text, tensors)})
        path.write_bytes(content)
        return len(content) / 2**20

    def read(case: int) -> str:
        text, tensors, what, must = mutated(seed, case, models)
        return report(what, lambda: use(must), write(text, tensors))

    for header, tensors in models:  # warm
        write(json.dumps(header), tensors)
        if wrong := use(False):
            raise RuntimeError(wrong)
        assert load_model(path).scenes == SCENES
    return read


def limited_reader(seed: int) -> Callable[[int], str]:
    """Return `reader`, in a process whose memory is limited."""
    import resource

    read = reader(seed)
    with open("/proc/self/statm", encoding="ascii") as file:
        limit = int(file.read().split()[0]) * resource.getpagesize() + int(MEMORY_GB * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return read


def _tensor(tensors: Tensors, draw: np.random.Generator) -> tuple[str, bool]:
    """Change one tensor; return what was done, and whether no reader may accept it."""
    import torch

    name = sorted(tensors)[draw.integers(len(tensors))]
    old = tensors[name]
    types = (
        torch.int64,
        torch.int8,
        torch.uint8,
        torch.bool,
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.float8_e5m2,
    )
    kind = int(draw.integers(9))
    if kind <= 1:
        new = types[draw.integers(len(types))]
        tensors[name] = old.to(new)
        return f"{name} as {new}", old.is_floating_point() and new in types[:4]
    if kind == 2:
        shapes = (
            old.reshape(-1),
            old[None],
            old.reshape(-1)[:0],
            torch.cat([old.reshape(-1)] * 2),
            old.T if old.ndim == 2 else old,
        )
        new = shapes[draw.integers(len(shapes))].contiguous()
        tensors[name] = new
        return f"{name} of the shape {tuple(new.shape)}", new.shape != old.shape and name != "familiarity/held"
    if kind == 3:
        del tensors[name]
        return f"without {name}", True
    if kind == 4:
        tensors[f"{name}x"] = old.clone()
        return f"{name} twice", not name.startswith("familiarity") or True
    if kind == 5 and old.is_floating_point():
        tensors[name] = old * (10.0 ** draw.integers(3, 39))
        return f"{name} enlarged", not bool(tensors[name].isfinite().all())
    if not old.is_floating_point() or not old.numel():
        tensors[name] = torch.full_like(old, int(draw.integers(-5, 5)))
        return f"{name} another number", False
    value = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e30, 3e38)[draw.integers(7)]
    tensors[name] = old.clone()
    tensors[name].view(-1)[int(draw.integers(old.numel()))] = value
    must = not math.isfinite(value) and not (name.endswith("svm/offset") and value == math.inf)
    return f"{name} with {value}", must or (name.endswith("running_var") and value < 0)


def _member_of(header: Header, draw: np.random.Generator) -> Header:
    """The header itself, or, in format 2, one of its members."""
    members = header.get("members")
    return members[draw.integers(len(members))] if members else header


def _header(header: Header, draw: np.random.Generator) -> str:
    keys = sorted(header)
    key = keys[draw.integers(len(keys))]
    values = (*NUMBERS, *OTHERS)
    value = values[draw.integers(len(values))]
    if isinstance(header[key], dict) and draw.random() < 0.6:
        inner = list(header[key])[draw.integers(len(header[key]))]
        header[key][inner] = value
        return f"{key}.{inner} = {str(value)[:30]}"
    if draw.random() < 0.2:
        del header[key]
        return f"without {key}"
    header[key] = value
    return f"{key} = {str(value)[:30]}"


def _scenes(header: Header, draw: np.random.Generator) -> str:
    n = len(header["scenes"])
    choices: tuple[Any, ...] = (
        [str(number) for number in range(int(draw.integers(10**4, 10**5)))],
        header["scenes"][:1],
        [header["scenes"][0]] * n,
        [NOISE[draw.integers(len(NOISE))] for _ in range(n)],
        ["x" * 10**6, *header["scenes"][1:]],
        header["scenes"][::-1],
        [*header["scenes"][1:], OTHERS[draw.integers(len(OTHERS))]],
        dict.fromkeys(header["scenes"]),
        "abcde",
    )
    at = int(draw.integers(len(choices)))
    header["scenes"] = choices[at]
    return f"scenes {at}: {str(choices[at])[:40]}"
