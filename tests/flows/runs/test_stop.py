"""Signals that end a command, and standard streams that do not take what it says."""

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
ENDING = """
import signal
import time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
from flows.runs import stop

class Slow:
    def __del__(self):
        write(1, b"ending\\n")
        sleep(2)

write, sleep = __import__("os").write, time.sleep
stop.watch()
keep = Slow()
raise SystemExit(130)
"""


def test_a_signal_that_comes_while_python_itself_ends_changes_no_exit_code():
    process = subprocess.Popen([sys.executable, "-c", ENDING], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ending\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130


CLOSED = """
import os, subprocess, sys
from flows import cli
for number in range(3):
    os.close(number)
cli._open_closed_streams()
child = "import os, sys; [os.fstat(n) for n in range(3)]; open(sys.argv[1], 'w').close()"
subprocess.run([sys.executable, "-c", child, sys.argv[1]])
"""


def test_streams_that_were_closed_are_there_for_child_processes_too(tmp_path):
    subprocess.run([sys.executable, "-c", CLOSED, tmp_path / "there"], cwd=ROOT, timeout=60)
    assert (tmp_path / "there").exists()


def test_output_that_nothing_can_take_is_one_line():
    prints = "from flows import cli; cli.app = lambda **_: print('said', flush=True); cli.main()"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", prints], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    line = "StoreError: standard output: its disk is full; free some space, then run the same command again"
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, line)
