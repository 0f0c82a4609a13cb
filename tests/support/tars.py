"""Tar files, good and hostile."""

import io
import tarfile


def tar(*members, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    """Members are (name, bytes), or TarInfos as they are."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=form) as out:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                out.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                out.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def special(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def header(name: str, kind: bytes, size: int) -> bytes:
    """The 512 bytes of one member, whatever follows."""
    return special(name, kind, size=size).tobuf(tarfile.GNU_FORMAT)[:512]
