"""python -m soundscene."""

from soundscene.cli import main

main()
