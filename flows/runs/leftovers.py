"""What killed processes leave half written in a run's folder, and its removal."""

import re
import shutil
from pathlib import Path

HALF = re.compile(
    r"\..+\.(\d+|new)|dataset(-\d+)?\.part"
)  # names while shards, JSON files, steps and datasets are written


def clear(folder: Path) -> None:
    """Removes it. Only for who holds the folder's lock, so that nobody else writes there."""
    for place in (folder, *folder.glob("passes/*"), *folder.glob("steps"), *folder.glob("steps/*")):
        for path in place.iterdir() if place.is_dir() else ():
            if HALF.fullmatch(path.name):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
