"""Context and key-value cache of vLLM on a CPU, by hand; and what its refusals become."""

import json
import re

import pytest

from pipeline.engines import vllm
from pipeline.engines.local import context, device, load_errors
from schemas.errors import EngineError

MIB, GIB = 1 << 20, 1 << 30
# SmolLM2-135M-Instruct in float32: keys and values (2) of 3 heads of 64 numbers of 4 bytes in 30 layers
SMOL = context.Sizes(8_192, 2 * 3 * 64 * 4 * 30, 540 * MIB)


def settings(**given) -> vllm.Settings:
    return vllm.Settings(model="smol", **given)


def test_a_real_model_gets_a_cache_that_holds_its_longest_request():
    """46,080 bytes a token x (8,192 tokens + vLLM's own block of 128) = 365.6 MiB."""
    found = context.fitted(SMOL, settings(), longest=512, free=4 * GIB)
    assert (found.tokens, found.kv_bytes) == (8_192, 46_080 * 8_320)
    # 128 MiB is 22 blocks of 5,898,240 bytes; one is vLLM's own
    assert SMOL.tokens(128 * MIB) == 21 * 128


def test_a_long_context_is_as_long_as_the_recipe_needs():
    """8,192 tokens of prompt and 1,000 of answer are 72 blocks of 128 (9,216 tokens)."""
    long = SMOL._replace(own=131_072)
    found = context.fitted(long, settings(), longest=1_000, free=16 * GIB)
    assert (found.tokens, found.kv_bytes) == (9_216, 46_080 * 9_344)


def test_a_small_model_has_as_much_cache_as_ever():
    """1 KiB a token: 128 MiB hold 1,023 blocks of 128 tokens besides vLLM's own, far more than its 4,096."""
    found = context.fitted(context.Sizes(4_096, 1_024, 4 * MIB), settings(), longest=64, free=GIB)
    assert (found.tokens, found.kv_bytes) == (4_096, 128 * MIB)


def test_the_cache_takes_at_most_half_of_what_the_weights_leave():
    """1,040 - 540 MiB are left; half of it is 44 blocks of 5.625 MiB, one of them vLLM's own."""
    found = context.fitted(SMOL, settings(), longest=512, free=1_040 * MIB)
    assert (found.tokens, found.kv_bytes) == (43 * 128, 250 * MIB)


def test_what_is_set_is_taken():
    assert context.fitted(SMOL, settings(max_model_len=1_000), 512, 4 * GIB)[:2] == (1_000, 128 * MIB)
    assert context.fitted(SMOL, settings(kv_cache_memory_bytes=64 * MIB), 512, 0)[:2] == (10 * 128, 64 * MIB)
    both = settings(max_model_len=4_096, kv_cache_memory_bytes=64 * MIB)
    assert context.fitted(SMOL, both, 512, 0)[:2] == (4_096, 64 * MIB)  # vLLM refuses that, and says what would do


def test_too_little_memory_is_a_line_with_values_that_would_do():
    """Of 700 MiB the weights leave 160, half of which is 14 blocks of 5.625 MiB, one of them vLLM's own: 1,664 tokens."""
    with pytest.raises(EngineError) as raised:
        context.fitted(SMOL, settings(max_model_len=3_000), 512, 700 * MIB)
    assert str(raised.value) == (
        "vLLM cannot load smol: 3,000 tokens need 141 MiB of key-value cache beside about 540 MiB of weights, and 700 MiB of memory are free; "
        "set kv_cache_memory_bytes: 147456000 or set max_model_len: 1664"
    )
    assert 46_080 * (3_072 + 128) == 147_456_000
    assert context.fitted(SMOL, settings(max_model_len=1_664), 512, 700 * MIB).tokens == 1_664
    with pytest.raises(
        EngineError, match=r"1,024 tokens need 51 MiB .* free 4\d\d MiB of memory, or take a smaller model"
    ):
        context.fitted(SMOL, settings(), 512, 200 * MIB)


FLAGS = "processor\t: 0\nflags\t\t: fpu sse2 avx2 {}\nprocessor\t: 1\nflags\t\t: fpu\n"


@pytest.mark.parametrize(
    ("cpuinfo", "native"),
    [
        (FLAGS.format("avx512f avx512_bf16 amx_tile"), True),
        (FLAGS.format("amx_bf16"), True),
        (FLAGS.format("avx512f avx512_bf16x"), False),
        (FLAGS.format(""), False),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("model name\t: avx512_bf16\n", False),
        ("", False),
    ],
)
def test_a_processor_computes_in_bfloat16_if_its_flags_say_so(cpuinfo, native):
    assert device.computes_bfloat16(cpuinfo) is native


@pytest.mark.parametrize(
    ("stored", "native", "dtype", "ending"),
    [
        ({"dtype": "bfloat16"}, True, "auto", " dtype=bfloat16"),
        ({"torch_dtype": "bfloat16"}, True, "auto", " dtype=bfloat16"),
        ({"text_config": {"dtype": "bfloat16"}}, True, "auto", " dtype=bfloat16"),
        ({"dtype": "bfloat16"}, False, "auto", ""),
        ({"dtype": "bfloat16"}, False, "bfloat16", " dtype=bfloat16"),  # as if it had been set
        ({"dtype": "float16"}, True, "auto", ""),
        ({"dtype": "float32"}, True, "auto", ""),
        ({}, True, "auto", ""),  # as the demo's
        ({"dtype": "bfloat16"}, True, "float32", " dtype=float32"),
    ],
)
def test_an_answer_in_bfloat16_is_another_than_one_in_float32(stored, native, dtype, ending, tmp_path, monkeypatch):
    """By the identity, which is in all ids and keys; float32 has the name it always had."""
    (tmp_path / "config.json").write_text(json.dumps(stored))
    monkeypatch.setattr(vllm, "has_gpu", lambda: False)
    monkeypatch.setattr(vllm, "computes_bfloat16", lambda: native)
    given = vllm.Settings(model=str(tmp_path), dtype=dtype)
    assert re.fullmatch(rf"{tmp_path.name}@[0-9a-f]{{12}}(.*)", vllm.identity_of(given))[1] == ending
    assert vllm.dtype_of(given) == (ending.removeprefix(" dtype=") or "float32")
    monkeypatch.setattr(vllm, "has_gpu", lambda: True)
    assert vllm.dtype_of(given) == dtype  # there the checkpoint decides, as ever


def group(root, folder: str, **files) -> None:
    place = root / "sys/fs/cgroup" / folder
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name.replace("__", ".")).write_text(text)


def test_the_limits_of_containers_count(tmp_path):
    own = tmp_path / "proc/self"
    own.mkdir(parents=True)
    whole = device.available_memory(tmp_path), device.total_memory(tmp_path)  # no control groups
    assert whole[0] < whole[1]
    (own / "cgroup").write_text("0::/one/two\n")
    group(tmp_path, "one/two", memory__max="max\n", memory__current="9\n", memory__stat="inactive_file 0\n")
    stat = f"anon 1\ninactive_file {50 * MIB}\n"
    group(tmp_path, "one", memory__max=f"{300 * MIB}\n", memory__current=f"{200 * MIB}\n", memory__stat=stat)
    assert device.available_memory(tmp_path) == 150 * MIB  # 300 - (200 - 50): what is cached can be dropped
    assert device.total_memory(tmp_path) == 300 * MIB
    # version 1, from within a container: only the top is to be seen
    (own / "cgroup").write_text("5:cpu:/x\n4:memory:/of/the/host\n")
    limits = {
        "memory__limit_in_bytes": f"{100 * MIB}\n",
        "memory__usage_in_bytes": f"{120 * MIB}\n",
        "memory__stat": "",
    }
    group(tmp_path, "memory", **limits)
    assert device.available_memory(tmp_path) == 0


REFUSALS = [
    (
        "To serve at least one request with the model's max seq len (8192), (0.35 GiB KV cache is needed, which is larger than the available KV cache "
        "memory (0.12 GiB). Based on the available memory, the estimated maximum model length is 2688. Try increasing",
        {"kv_cache_memory_bytes": 128 * MIB},
        # (0.35 - 0.12 + 0.02) x 2^30 = 268,435,456 more
        "a request of 8,192 tokens needs 0.35 GiB of key-value cache, and it has 0.12 GiB; set kv_cache_memory_bytes: 402653184 or max_model_len: 2688",
    ),
    (
        "Free memory on device cuda:0 (31.5/79.1 GiB) on startup is less than desired GPU memory utilization (0.9, 71.19 GiB). Decrease GPU",
        {},
        # 31.5 / 79.1 = .398
        "31.5 of 79.1 GiB of the GPU's memory are free, and gpu_memory_utilization: 0.9 asks for 71.19; "
        "set gpu_memory_utilization: 0.39, or end what else uses the GPU",
    ),
    (
        "User-specified max_model_len (100000) is greater than the derived max_model_len (max_position_embeddings=8192.0 or model_max_length=None in "
        "model's config.json). To allow overriding",
        {},
        "max_model_len: 100000 is more than the model's own limit; set max_model_len: 8192, or remove it",
    ),
    (
        "max_num_batched_tokens (2048) must be greater than or equal to max_num_seqs (4096).",
        {},
        "slots: 4096 is more than the 2048 tokens that vLLM computes at a time; set slots: 2048",
    ),
    (
        "Total number of attention heads (9) must be divisible by tensor parallel size (4).",
        {},
        "its 9 attention heads cannot be split over tensor_parallel_size: 4; set tensor_parallel_size: 3",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "given", "line"), REFUSALS)
def test_a_refusal_names_the_setting_that_helps_and_a_value(text, given, line):
    assert load_errors.explained(ValueError(text), settings(**given)) == line


def test_a_refusal_that_is_unknown_is_passed_on_whole():
    text = "First line\n  and a second, with the cause"
    assert load_errors.explained(ValueError(text), settings()) == "First line and a second, with the cause"
    assert load_errors.explained(KeyError("lm_head"), settings()) == "KeyError: 'lm_head'"
    assert load_errors.explained(RuntimeError(), settings()) == "RuntimeError"
