"""python -m soundscene."""

from soundscene.cli.app import main

main()
