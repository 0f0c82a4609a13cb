"""Ctrl-C, SIGTERM and SIGHUP: the first stops a command in order, the second ends its process at once. One line says so.

A process that is ended at once is like a killed one: the same command continues where it stopped."""

import asyncio
import atexit
import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LINE = "stopped: run the same command again to continue"

number: int | None = None
"""the first signal received"""
_said = False
_task: asyncio.Task | None = None  # the event loop's task: a signal cancels it; other code is interrupted


def watch() -> None:
    """Installs the signal handlers, except for signals that this process was started to ignore."""
    atexit.register(_ignore)  # registered first, so it runs last
    for each in SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, _take)


def _ignore() -> None:
    """Ignores signals during exit: Python restores its own handlers, which would change the exit code."""
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
    """Prints LINE once."""
    global _said
    if not _said:
        _said = True
        with suppress(OSError):
            os.write(2, f"\r{LINE}\n".encode() if os.isatty(2) else f"{LINE}\n".encode())


def code() -> int:
    """The exit code, following the convention of shells: 128 + signal."""
    return 128 + (number or signal.SIGINT)


def run(runner: asyncio.Runner, work: Coroutine) -> Any:
    """`runner.run(work)`; if a signal cancels it, raises KeyboardInterrupt after all its tasks have ended."""
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
