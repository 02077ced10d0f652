"""Two processes learn and generate what one does from the same examples an update."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import json, sys
from pathlib import Path
from tiny import tiny_model
from trainers import OURS, train_text
trainer = train_text(
    OURS, tiny_model(), Path(sys.argv[1]), per_device_train_batch_size={batch},
    per_device_eval_batch_size={batch}, predict_with_generate=True,
)
found = trainer.predict(trainer.train_dataset.select(range(16)), max_length=9)
if trainer.is_world_process_zero():
    said = {{"history": trainer.state.log_history, "predictions": found.predictions.tolist()}}
    Path(sys.argv[2]).write_text(json.dumps(said))
"""


def trained(folder: Path, num_processes: int) -> dict[str, Any]:
    script, found = folder / f"{num_processes}.py", folder / f"{num_processes}.json"
    script.write_text(SCRIPT.format(batch=8 // num_processes))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), str(tests.parent / "src")])
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(num_processes),
              "--master_port", str(port)]  # fmt: skip
    done = subprocess.run(
        [sys.executable, *launch, str(script), str(folder), str(found)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = json.loads(found.read_text())
    return said


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    one, two = trained(tmp_path, 1), trained(tmp_path, 2)
    assert len(one["history"]) == len(two["history"]) == 7
    assert len(one["predictions"]) == 16
    assert two["predictions"] == one["predictions"]
    for alone, shared in zip(one["history"], two["history"], strict=True):
        for name in {"loss", "grad_norm", "train_loss"} & alone.keys():
            assert shared[name] == pytest.approx(alone[name], rel=1e-5)
