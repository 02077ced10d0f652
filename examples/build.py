"""Make the notebooks of the scripts beside them, and run them.

    python examples/build.py [NAME [ARGUMENT ...]]

Arguments are the script's own, as in `pairs --data FOLDER`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent
SCRIPTS = sorted(
    path
    for path in FOLDER.glob("*.py")
    if path != Path(__file__)
)
_KERNEL = {
    "name": "python3",
    "display_name": "Python 3",
    "language": "python",
}


def read_script(script: Path) -> NotebookNode:
    """The notebook that a script makes, not run yet."""
    notebook = jupytext.read(script, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": _KERNEL}
    )
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # they are random else
    return notebook


def execute(
    notebook: NotebookNode,
    folder: Path,
    arguments: Sequence[str] = (),
) -> None:
    """Run a notebook in a folder, with its script's words."""
    folder.mkdir(exist_ok=True)
    for script in SCRIPTS:  # which a notebook may start, too
        shutil.copy(script, folder)
    given = f"import sys\nsys.argv[1:] = {list(arguments)!r}"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(given))
    client = NotebookClient(
        notebook,
        timeout=None,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    # What it starts by `!` is of this Python.
    path = f"{Path(sys.executable).parent}{os.pathsep}"
    path += os.environ["PATH"]
    client.execute(env={**os.environ, "PATH": path})
    del notebook.cells[0]
    notebook.metadata.pop("language_info", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            _tidy(cell)


def _tidy(cell: NotebookNode) -> None:
    """Count as if nothing had been run before the cell.

    Standard error goes: bars, and advice on this machine.
    """
    cell.execution_count -= 1
    cell.outputs = [
        output
        for output in cell.outputs
        if output.get("name") != "stderr"
    ]
    for output in cell.outputs:
        if "execution_count" in output:
            output.execution_count -= 1
        if "text" in output:  # `!` ends lines as terminals do
            output.text = output.text.replace("\r\n", "\n")


def main(words: Sequence[str]) -> None:
    """Make the notebook that is named, or all."""
    names = [script.stem for script in SCRIPTS]
    if words and words[0] not in names:
        sys.exit(f"There are: {', '.join(names)}")
    for name in words[:1] or names:
        script = FOLDER / f"{name}.py"
        notebook = read_script(script)
        with TemporaryDirectory() as folder:
            execute(notebook, Path(folder), words[1:])
        nbformat.write(notebook, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    main(sys.argv[1:])
