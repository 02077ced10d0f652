"""The embedded model and the demonstration."""
