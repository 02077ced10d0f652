"""What `accelerate launch` gives to the processes that it starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import (
    prepare_extend_env_parallelism_config,
    prepare_multi_gpu_env,
)


def launch_environment(path: Path) -> dict[str, str]:
    """The variables that `accelerate launch --config_file PATH` gives its processes."""
    words = ["--config_file", str(path), "--machine_rank", "0", "--main_process_ip", "127.0.0.1"]
    arguments: Any = launch_command_parser().parse_args(
        [*words, "-m", "attuner", "train", "r.yaml"]
    )
    before = dict(os.environ)
    arguments, *_ = _validate_launch_command(arguments)
    environment: dict[str, str] = prepare_multi_gpu_env(arguments)
    if arguments.use_parallelism_config:
        environment = prepare_extend_env_parallelism_config(arguments, environment)
    assert dict(os.environ) == before
    return environment
