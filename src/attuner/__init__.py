"""Attuner attunes a pretrained text model to your own data, and proves that it became better."""
