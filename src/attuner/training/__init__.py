"""The run: loop, objective, optimizer, checkpoints."""
