"""Loading a checkpoint rightly: weights, tokens, packing."""
