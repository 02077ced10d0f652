"""What scripts written for other libraries import, with the same calls and the same returns."""
