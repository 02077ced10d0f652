"""The model card: README.md of a model folder, rendered from the facts in its card.json."""
