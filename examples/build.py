"""Make the notebooks of the scripts beside them, and run them.

    python examples/build.py [NAME ...] [-- ARGUMENT ...]

What is behind `--` the scripts are given, as in
`pairs -- --data FOLDER`.
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
    """Run a notebook in a folder, with arguments for its script."""
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    given = nbformat.v4.new_code_cell(
        f"import sys\nsys.argv[1:] = {list(arguments)!r}"
    )
    notebook.cells.insert(0, given)
    client = NotebookClient(
        notebook,
        timeout=None,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    # What it starts by `!` is of this Python.
    places = [
        str(Path(sys.executable).parent),
        os.environ["PATH"],
    ]
    client.execute(
        env={**os.environ, "PATH": os.pathsep.join(places)}
    )
    del notebook.cells[0]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count -= 1
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count -= 1
                if "text" in output:
                    output.text = output.text.replace(
                        "\r\n", "\n"
                    )
    notebook.metadata.pop("language_info", None)


def main(words: Sequence[str]) -> None:
    """Make the notebooks that are named, or all."""
    names, arguments = list(words), []
    if "--" in names:
        at = names.index("--")
        names, arguments = names[:at], names[at + 1 :]
    for script in SCRIPTS:
        if names and script.stem not in names:
            continue
        notebook = read_script(script)
        with TemporaryDirectory() as folder:
            execute(notebook, Path(folder), arguments)
        nbformat.write(notebook, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    main(sys.argv[1:])
