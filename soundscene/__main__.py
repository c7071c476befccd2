"""python -m soundscene."""

from soundscene.cli.app import command

command()
