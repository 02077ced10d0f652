"""Hostile input for every reader: made by chance, the same for the same seed."""
