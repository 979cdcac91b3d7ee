"""The connection to a Ray cluster: one that runs, or one on this machine that starts and ends with the run."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from mmpipe.core.errors import ClusterError, UsageError
from mmpipe.pipeline.hardware import available_cores

__all__ = ["connected"]

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_OBJECT_STORE_BYTES = 128 << 20
"""Shared memory of a cluster that mmpipe starts: tasks and results are small, features go to the store."""


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[Any]:
    """The module `ray`, connected to a cluster while the block runs.

    Args:
        address: HOST:PORT of the head, or `auto` for the cluster that this machine belongs to; None takes RAY_ADDRESS,
            or starts a cluster on this machine that ends with the block. A program that has called `ray.init` stays
            connected as it is.
        workers: CPUs of a cluster that is started; None takes the cores that this process may use.

    Raises:
        UsageError: Ray is not installed, or the address is not of this form.
        ClusterError: there is no cluster at the address, or it has another version of Ray or Python.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--engine ray needs the package ray: `pip install 'mmpipe[ray]'`, here and on every node")
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {
            "num_cpus": workers or available_cores(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_node_ip_address": "127.0.0.1",  # its ports are open to whoever reaches them
        }
    else:
        _refuse_silent(address)
    try:
        with _own_signals():
            _start(ray, address, options)
        yield ray
    finally:
        ray.shutdown()


def _start(ray: ModuleType, address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **options)
    except (Exception, SystemExit) as error:  # Ray ends the process where a cluster does not answer
        where = "on this machine" if address == "local" else f"at {address}"
        remedy = "start one with `ray start --head`, or leave --address out to start one for this run"
        reason = " ".join(str(error).split())[:500]
        raise ClusterError(f"no Ray cluster {where} can be used ({reason}): {remedy}") from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does at SIGTERM, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _refuse_silent(address: str) -> None:
    """Raise `ClusterError` where nobody answers at an address: Ray itself would wait for two minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise UsageError(
            f"--address {address!r}: expected HOST:PORT of the cluster's head, such as 10.0.0.1:6379, or auto; the run "
            "starts on a machine that belongs to the cluster (`ray start --address HOST:PORT` makes it one)"
        )
    advice = f"is it running (`ray start --head --port {port}`), and does a firewall let this machine reach it?"
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(f"no Ray cluster answers at {address} ({error.strerror or error}): {advice}") from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    code = None
    with suppress(subprocess.TimeoutExpired):
        code = subprocess.run(
            command, timeout=_ANSWER_SECONDS, check=False, stdin=subprocess.DEVNULL, capture_output=True
        ).returncode
    if code != 0:
        raise ClusterError(f"what answers at {address} is not the head of a Ray cluster: {advice}")
