"""All kinds, by name."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from pipeline.corrupt.kinds._kind import Kind
from pipeline.corrupt.kinds.adversarial import Adversarial
from pipeline.corrupt.kinds.clips import Drop, Freeze, Reverse, Shuffle
from pipeline.corrupt.kinds.images import (
    Black,
    Blur,
    Crop,
    Diffusion,
    Downscale,
    Jitter,
    Pixelate,
    PixelMask,
    RegionMask,
    Rotate,
)  # fmt: skip
from pipeline.corrupt.kinds.sounds import Mute, Noise, Pitch, Reverb, Stretch
from pipeline.corrupt.kinds.swap import Swap
from schemas.text import did_you_mean


class Nothing(Kind):
    """No media at all: what is asked without them (Dropout-NTP, V-DPO)."""

    kind: Literal["none"] = "none"


Known = (
    Nothing | Diffusion | Crop | Rotate | Black | Blur | Pixelate | Downscale | Jitter | PixelMask | RegionMask | Swap
    | Adversarial | Drop | Freeze | Shuffle | Reverse | Noise | Mute | Pitch | Stretch | Reverb
)  # fmt: skip
KINDS: dict[str, type[Kind]] = {kind.model_fields["kind"].default: kind for kind in get_args(Known)}


def _named(given: Any) -> Any:
    """A kind's name alone is the kind as it is by default; unknown names are answered with those that there are."""
    given = {"kind": given} if isinstance(given, str) else given
    if isinstance(given, dict):
        kind = KINDS.get(str(given.get("kind")))
        if kind is None:
            raise ValueError(f"no kind is called '{given.get('kind')}': {did_you_mean(str(given.get('kind')), KINDS)}")
        for key in given:
            if key not in kind.model_fields:
                raise ValueError(f"{given['kind']} has no setting '{key}': {did_you_mean(key, kind.model_fields)}")
    return given


Spec = Annotated[Annotated[Known, Field(discriminator="kind")], BeforeValidator(_named)]
"""What a setting says of media: `crop`, or `{kind: crop, area: [0.1, 0.3]}`."""
