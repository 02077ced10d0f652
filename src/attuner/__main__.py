"""`python -m attuner`."""

from attuner.cli import main

if __name__ == "__main__":
    main()
