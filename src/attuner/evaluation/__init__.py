"""Scores that can be trusted, and how they are shown."""
