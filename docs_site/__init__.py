"""The site of the documents: `python -m docs_site.build` makes it from docs/, docstrings, commands and the recipe."""
