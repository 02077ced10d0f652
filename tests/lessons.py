"""Eight pairs for the tiny model of `conftest.marian` to learn."""

from __future__ import annotations

from collections.abc import Callable

from attuner.training.events import Event
from attuner.training.run import Run

Tune = Callable[..., tuple[Run, list[Event]]]

LESSONS = {
    "Open the file": "Ouvre le fichier",
    "Close all windows": "Ferme toutes les fenêtres",
    "Delete file?": "Efface le fichier ?",
    "Save the file as %1": "Sauve le fichier sous %1",
    "Open all windows": "Ouvre toutes les fenêtres",
    "The kernel restarts now": "Le kernel redémarre",
    "Delete all": "Efface toutes",
    "  Close the file\nOpen the kernel": "  Ferme le fichier\nOuvre le kernel",
}
