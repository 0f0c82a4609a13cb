"""All formats by name, and their detection from a file's columns."""

from collections.abc import Collection
from types import ModuleType

from pipeline.source.formats import (
    distilabel,
    label_studio,
    llama_factory,
    llava,
    mllm_judge,
    mm_rlhf,
    mmpr,
    ms_swift,
    multimodal_rewardbench,
    pairwright,
    rlaif_v,
    trl,
    ultrafeedback,
    vl_rewardbench,
    vlfeedback,
)  # fmt: skip

# the first match is taken, so formats with distinctive columns precede those with common ones
FORMATS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        label_studio, pairwright, mllm_judge, multimodal_rewardbench, vl_rewardbench, vlfeedback, distilabel, ultrafeedback, mm_rlhf, rlaif_v, mmpr, llava, llama_factory, ms_swift, trl,
    )
}  # fmt: skip


def detect(columns: Collection[str]) -> tuple[str, str] | None:
    """(name, reason) of the format of a file with these columns; None if it is unknown."""
    for name, module in FORMATS.items():
        if why := module.fits(columns):
            return name, why
    return None
