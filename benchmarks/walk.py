"""The walks of docs/guide, walked again: every command is run, and its output takes the place of the one on the page.

    python benchmarks/walk.py PAGE [PAGE ...] --in FOLDER

In a block that opens with ```console, lines that begin with "$ " are commands for bash, run in FOLDER one after the other
(lines that begin with "> " go on with the one before); what follows them is their output, both streams together, with a line
for an exit code other than 0. Pictures that a page shows are copied from FOLDER to beside the page. A page is written only
when all its commands have run.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

COLUMNS = 110
LIMIT_S = 1800
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)/]+)\)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--in", type=Path, required=True, dest="folder")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for page in arguments.pages:
        text = BLOCK.sub(lambda block: walked(block[1], arguments.folder), page.read_text(encoding="utf-8"))
        for name in PICTURE.findall(text):
            shutil.copyfile(arguments.folder / name, page.with_name(name))
        page.write_text(text, encoding="utf-8")


def walked(block: str, folder: Path) -> str:
    """The block again with what its commands print now."""
    lines = []
    for command in commands(block):
        shown = command.split("\n")
        lines += [f"$ {shown[0]}", *(f"> {line}" for line in shown[1:])]
        print(f"$ {shown[0]}", file=sys.stderr)
        lines += output(command, folder)
    return "\n".join(["```console", *lines, "```"])


def commands(block: str) -> list[str]:
    """The commands of a block; the lines of one that goes on are joined by line breaks."""
    found: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
        elif line.startswith("> ") and found:
            found[-1] += f"\n{line[2:]}"
    return found


def output(command: str, folder: Path) -> list[str]:
    """What a command prints, as lines without spaces at their ends."""
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
    return lines if done.returncode == 0 else [*lines, f"[exit code {done.returncode}]"]


if __name__ == "__main__":
    main()
