"""Run the commands of README.md and docs/guide again and replace the output on the pages by the new one.

    python benchmarks/walk.py PAGE [PAGE ...] --in FOLDER

In a ```console block, lines that begin with "$ " are commands for bash, run in FOLDER in order (lines that begin with "> "
continue the command before). Their output follows them, both streams together, with a line for an exit code other than 0.
A ```python block with a ```text block directly below it is run too, and the text becomes what it prints. A picture beside
the page is copied from FOLDER, if a command wrote it there. A page is written only when all its commands have run
and none has ended with a traceback.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

COLUMNS = 110
LIMIT_S = 1800
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPT = re.compile(r"^(```python\n(.*?)^```\n\n)```text\n.*?^```$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)/]+)\)")


def main() -> None:
    """Run each page in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--in", type=Path, required=True, dest="folder")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    for page in arguments.pages:
        text = BLOCK.sub(lambda block: rerun(block[1], folder), page.read_text(encoding="utf-8"))
        text = SCRIPT.sub(lambda block: block[1] + "\n".join(["```text", *printed(block[2], folder), "```"]), text)
        for name in PICTURE.findall(text):
            if (folder / name).exists():
                shutil.copyfile(folder / name, page.with_name(name))
        page.write_text(text, encoding="utf-8")


def rerun(block: str, folder: Path) -> str:
    """Run the commands of a console block; return the block with their new output."""
    lines = []
    for command in commands(block):
        shown = command.split("\n")
        lines += [f"$ {shown[0]}", *(f"> {line}" for line in shown[1:])]
        print(f"$ {shown[0]}", file=sys.stderr)
        lines += output(command, folder)
    return "\n".join(["```console", *lines, "```"])


def commands(block: str) -> list[str]:
    """Return the commands of a block; continued lines are joined by line breaks."""
    result: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            result.append(line[2:])
        elif line.startswith("> ") and result:
            result[-1] += f"\n{line[2:]}"
    return result


def printed(script: str, folder: Path) -> list[str]:
    """Return the lines that a Python script prints."""
    return output(f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}", folder)


def output(command: str, folder: Path) -> list[str]:
    """Return the lines that a command prints, without trailing spaces."""
    environment = os.environ | {"COLUMNS": str(COLUMNS), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=LIMIT_S,
        check=False,
    )
    lines = [line.rstrip() for line in done.stdout.strip("\n").splitlines()]
    if "Traceback (most recent call last):" in lines:
        raise SystemExit(f"$ {command}\n{done.stdout}")
    return lines if done.returncode == 0 else [*lines, f"[exit code {done.returncode}]"]


if __name__ == "__main__":
    main()
