"""What the tiny model of `conftest.marian` has learned by heart."""

PAIRS = {
    "Open the file": "Ouvrir le fichier",
    "Save the file as %1": "Enregistrer le fichier sous %1",
    "Close all windows": "Fermer toutes les fenêtres",
    "The kernel restarts now": "Le noyau redémarre",
    "Delete file?": "Supprimer le fichier ?",
}
