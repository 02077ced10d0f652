"""The tasks: a file each, and a line in `TASKS`."""

from __future__ import annotations

from attuner.training.jobs.job import InTraining as InTraining
from attuner.training.jobs.job import Job as Job
from attuner.training.jobs.labels import LabelJob
from attuner.training.jobs.text import TextJob

TASKS: dict[str, type[Job]] = {
    "translation": TextJob,
    "text-to-text": TextJob,
    "classification": LabelJob,
}
