"""No media at all: what is left of a prompt is its text."""

from typing import Literal

from pipeline.corrupt.kinds._kind import Kind


class Nothing(Kind):
    """No media at all: what is asked without them (Dropout-NTP, V-DPO)."""

    kind: Literal["none"] = "none"
