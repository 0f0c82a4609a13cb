"""All formats by name, and their detection from a file's columns."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pipeline.source.formats import (
    argilla,
    data_juicer,
    distilabel,
    helpsteer,
    hh_rlhf,
    label_studio,
    llama_factory,
    llava,
    llava_rlhf,
    mllm_judge,
    mm_rlhf,
    mmpr,
    ms_swift,
    multimodal_rewardbench,
    nectar,
    nemo_rl,
    omni_preference,
    openai,
    orpo_mix,
    pairwright,
    pick_a_pic,
    pku_saferlhf,
    rlaif_v,
    rlhf_v,
    trl,
    ultrafeedback,
    verl,
    verl_omni,
    vl_rewardbench,
    vlfeedback,
)  # fmt: skip

# the first match is taken, so formats with distinctive columns precede those with common ones
FORMATS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        label_studio, pairwright, mllm_judge, multimodal_rewardbench, vl_rewardbench, openai, nemo_rl, llava_rlhf, rlhf_v, pku_saferlhf, nectar,
        helpsteer, hh_rlhf, pick_a_pic, omni_preference, data_juicer, verl, verl_omni, vlfeedback, argilla, distilabel, ultrafeedback, mm_rlhf, rlaif_v,
        orpo_mix, mmpr, llava, llama_factory, ms_swift, trl,
    )
}  # fmt: skip


def detect(columns: Mapping[str, Any]) -> tuple[str, str] | None:
    """(name, reason) of the format of a file with these columns, each with its first value; None if it is unknown."""
    for name, module in FORMATS.items():
        if why := module.fits(columns):
            return name, why
    return None
