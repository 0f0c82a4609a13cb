"""Removes half-written files that killed processes leave in a run's folder."""

import re
import shutil
from pathlib import Path

TEMPORARY_NAME = re.compile(
    r"\..+\.(\d+|new)|dataset(-\d+)?\.part"
)  # temporary names of shards, JSON files, steps and datasets


def clear(folder: Path) -> None:
    """Removes half-written files. Only call it while holding the folder's lock, so that no one else writes there."""
    for place in (folder, *folder.glob("passes/*"), *folder.glob("steps"), *folder.glob("steps/*")):
        for path in place.iterdir() if place.is_dir() else ():
            if TEMPORARY_NAME.fullmatch(path.name):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
