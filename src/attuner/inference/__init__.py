"""Using a model: engines, the translator."""
