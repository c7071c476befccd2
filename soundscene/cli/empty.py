"""Empty words of a command line, such as those of shell variables that are not set, are refused in one line."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from soundscene.errors import SceneError


class CheckedCommand(TyperCommand):
    """A command whose options and arguments are not empty.

    An empty path would be the working folder, and an empty text as if the option had not been given.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of the command line.

        Args:
            ctx: Of the command.
            args: Words behind the command's name.

        Raises:
            SceneError: One of the values is empty.
        """
        if not ctx.resilient_parsing:  # while a shell completes a word
            given, _, parameters = self.make_parser(ctx).parse_args(args=list(args))
            for parameter in parameters:
                if "" in _texts(given.get(parameter.name)):
                    is_option = parameter.param_type_name == "option"
                    what = next((name for name in parameter.opts if name.startswith("--")), parameter.opts[0])
                    hint = f", or leave {what} out" if is_option and not parameter.required else ""
                    name = what if is_option else (parameter.metavar or parameter.name.upper())
                    raise SceneError(f"{name} '' is empty: is a variable of the shell not set? Give a value{hint}")
        return super().parse_args(ctx, args)


def _texts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)
