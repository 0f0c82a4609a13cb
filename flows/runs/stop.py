"""Ctrl-C, SIGTERM and SIGHUP: the first ends a command in order, the second ends its process at once. One line says so.

A process that is ended at once leaves what a killed one leaves: the same command goes on from there."""

import asyncio
import atexit
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LINE = "stopped: the same command goes on from here"

number: int | None = None
"""of the first signal that came"""
_said = False
_task: asyncio.Task | None = None  # what the event loop works on: it is cancelled, where other code is interrupted


def watch() -> None:
    """Takes the signals from now on, but for those that whoever started the process has it ignore."""
    atexit.register(_ignore)  # first, so that it is called last
    for each in SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, _take)


def _ignore() -> None:
    """From here on Python takes its handlers back, and a signal would end the process with another exit code."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _take(which: int, frame: Any) -> None:
    global number
    if number is not None:
        say()
        os._exit(code())
    number = which
    if _task is None:
        raise KeyboardInterrupt
    _task.get_loop().call_soon_threadsafe(_task.cancel)


def say() -> None:
    """Says it, once."""
    global _said
    if not _said:
        _said = True
        with suppress(OSError):
            os.write(2, f"\r{LINE}\n".encode() if os.isatty(2) else f"{LINE}\n".encode())


def code() -> int:
    """The exit code, as shells have it."""
    return 128 + (number or signal.SIGINT)


def run(runner: asyncio.Runner, work: Coroutine) -> Any:
    """`runner.run(work)`. What is cancelled by a signal raises KeyboardInterrupt here, when all its parts have ended."""
    try:
        return runner.run(_stoppable(work))
    except asyncio.CancelledError:
        if number is None:
            raise
        raise KeyboardInterrupt from None


async def _stoppable(work: Coroutine) -> Any:
    global _task
    before, _task = _task, asyncio.current_task()
    try:
        return await work
    finally:
        _task = before
