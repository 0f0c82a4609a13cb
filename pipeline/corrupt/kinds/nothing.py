"""No media at all: only the text of a prompt is left."""

from typing import Literal

from pipeline.corrupt.kinds._kind import Kind


class Nothing(Kind):
    """No media at all: the question alone (Dropout-NTP, V-DPO)."""

    kind: Literal["none"] = "none"
