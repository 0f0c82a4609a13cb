"""What goes wrong in the child of a run whose test puts this folder on PYTHONPATH: the product knows nothing of it.

CRASH_ON=word    the process is killed when a prompt with this word reaches vLLM
CRASH_AT_LOAD=1  the process ends while it loads a model
LEAK=bytes       so much memory is lost with each shard; shards have 8 samples, and a process may grow by 64 MiB
LITTLE=1         the machine is said to have next to no memory, so that no two models fit
"""

import os
import signal
import sys

lost = []


def crash_on(word: str) -> None:
    from pipeline.engines.vllm import VLLM

    prompt = VLLM._prompt

    def deadly(self, messages, *more):
        if any(word in (part.text or "") for message in messages for part in message.parts):
            os.kill(os.getpid(), signal.SIGKILL)
        return prompt(self, messages, *more)

    VLLM._prompt = deadly


def crash_at_load() -> None:
    from pipeline.engines import vllm

    vllm._load = lambda *_: os._exit(3)


def leak(size: int) -> None:
    from flows.runs import memory_watchdog, shards

    publish = shards.publish

    def leaking(*args):
        publish(*args)
        lost.append(bytearray(os.urandom(1)) * size)

    shards.publish, shards.SIZE, memory_watchdog.SPARE = leaking, 8, 64 << 20


def little() -> None:
    from pipeline.engines.local import device

    device.MOST_OF_MACHINE = 1e-9


if "flows.runs.worker" in sys.orig_argv:
    if word := os.environ.get("CRASH_ON"):
        crash_on(word)
    if os.environ.get("CRASH_AT_LOAD"):
        crash_at_load()
    if size := os.environ.get("LEAK"):
        leak(int(size))
    if os.environ.get("LITTLE"):
        little()
