#!/bin/bash
# av (PyAV) 18.1.0: encoding one frame with libsvtav1 as root leaves the whole process with real-time scheduling.
#
# Before, the process is scheduled as usual (SCHED_OTHER). After an AV1 video was written and closed it is SCHED_FIFO with priority 99, and so
# is every process that it starts: two busy ones on a machine of two cores let nothing else run. libx264 changes nothing. As another user the
# scheduling stays as it was. Data pipelines in containers often run as root; encode AV1 in a process of its own there.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "run it as root: for other users nothing changes" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy
"$folder/venv/bin/python" - 2>/dev/null <<'PY'
import io
import os

import av
import numpy as np


def scheduling_after(codec):
    with av.open(io.BytesIO(), "w", format="mp4") as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode()]:
            out.mux(packet)
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


found = scheduling_after("libx264"), scheduling_after("libsvtav1")
print("after libx264", found[0], "after libsvtav1", found[1])
assert found == ((os.SCHED_OTHER, 0), (os.SCHED_FIFO, 99)), found
PY
echo "as described"
