"""What a model learns: encoding, collating, the loss. Knows no optimizer."""
