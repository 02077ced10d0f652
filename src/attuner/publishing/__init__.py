"""What is done with a tuned model to hand it on."""
