"""A page for each command, from the same texts as its --help."""

from typing import Any

import typer

from soundscene.cli.app import app

HELP = "--help"


def command_pages() -> dict[str, str]:
    """Return name -> Markdown of the pages, and under "index" the list of all commands."""
    group: Any = typer.main.get_group(app)
    top = group.context_class(group, info_name="soundscene")
    rows = [f"| [`soundscene {name}`]({name}.md) | {escape(summary(c))} |" for name, c in group.commands.items()]
    index = [
        "# Commands",
        "What `--help` says, of the version that this site was built from.",
        "\n".join(["| command | |", "|---|---|", *rows]),
        "## soundscene",
        *_options(group, top, "soundscene"),
        hidden_toctree(group.commands),
    ]
    pages = {"index": "\n\n".join(index) + "\n"}
    for name, command in group.commands.items():
        context = command.context_class(command, info_name=name, parent=top)
        pages[name] = _page(name, command, context)
    return pages


def hidden_toctree(names: Any) -> str:
    """Return the block that tells Sphinx the order of pages."""
    return "\n".join(["```{toctree}", ":hidden:", "", *names, "```"])


def summary(command: Any) -> str:
    """Return the first paragraph of a command's help, as one line."""
    return " ".join((command.help or "").partition("\n\n")[0].split())


def escape(text: str) -> str:
    r"""Return text for a cell of a Markdown table or a paragraph: no character of it is markup, but code in backticks.

    >>> print(escape("`a` [default: <x|y>]"))
    `a` \[default: \<x\|y\>\]
    """
    parts = text.replace(r"\[", "[").split("`")  # a bracket that is escaped for the terminal
    if len(parts) % 2 == 0:
        parts = [text.replace("`", "")]
    escaped = ["".join(f"\\{c}" if c in "\\*_[]<>|#" else c for c in part) for part in parts[::2]]
    return "".join(a + (f"`{b}`" if b is not None else "") for a, b in zip(escaped, [*parts[1::2], None], strict=True))


def _page(name: str, command: Any, context: Any) -> str:
    paragraphs = [escape(" ".join(paragraph.split())) for paragraph in (command.help or "").split("\n\n")]
    usage = " ".join(["soundscene", name, *command.collect_usage_pieces(context)])
    head = [f"# soundscene {name}", *paragraphs, f"```text\n{usage}\n```"]
    return "\n\n".join([*head, *_options(command, context, f"soundscene {name}")]) + "\n"


def _options(command: Any, context: Any, program: str) -> list[str]:
    """Return the arguments and options as directives, which can be linked to and are found by the search."""
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or parameter.hidden or HELP in parameter.opts:
            continue
        is_argument = parameter.param_type_name == "argument"
        panel = parameter.rich_help_panel or ("Arguments" if is_argument else "Options")
        usage, text = record
        panels.setdefault(panel, []).append(f"```{{option}} {usage}\n{escape(' '.join(text.split()))}\n```")
    blocks = [f"```{{program}} {program}\n```"]
    for panel, options in panels.items():
        blocks += [f"**{panel}**", *options]
    return blocks
