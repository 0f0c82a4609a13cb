"""Rows that are broken or ask for what they must not get; each is one line of JSON Lines, beside what becomes of it."""

import json
from collections.abc import Iterator

from schemas.records import Reason

BAD, MISSING = Reason.BAD_ROW, Reason.MISSING_FILE


def rows() -> Iterator[tuple[bytes, str, str]]:
    """(line, what it is, the reason of its rejection)."""
    for line, what, reason in [
        (b"{", "half an object", BAD),
        (b"[" * 100_000, "100,000 nested lists", BAD),
        (b'{"a":' * 100_000, "100,000 nested objects", BAD),
        (b"[]", "a list", BAD),
        (b"null", "nothing", BAD),
        (b"{}", "an object without a prompt", Reason.EMPTY_PROMPT),
        (b'{"prompt": NaN}', "NaN", BAD),
        (b'{"prompt": "x\\ud800"}', "an unpaired surrogate", BAD),
        (b'{"prompt": "\xff\xfe"}', "bytes that are not UTF-8", BAD),
        (b'{"prompt": 1e999}', "a number that is too large", BAD),
        (b'{"prompt": ' + b"9" * 5000 + b"}", "a number of 5,000 digits", BAD),
    ]:
        yield line, what, reason
    for path, what, reason in [
        ("../../etc/passwd", "a path that leaves the folder", BAD),
        ("a/../../../etc/passwd", "a path that leaves the folder indirectly", BAD),
        ("/etc/passwd", "a file that is not an image", Reason.UNSUPPORTED_MEDIA),
        ("/dev/zero", "a device", MISSING),
        ("/proc/self/environ", "this process's environment", Reason.EMPTY_MEDIA),
        ("a\0b.png", "a path with a null byte", MISSING),
        ("", "an empty path", MISSING),
        (".", "the folder", MISSING),
        ("x" * 5000, "a path of 5,000 characters", BAD),
        ("file:///etc/passwd", "a URL of a local file", Reason.UNSAFE),
        ("http://127.0.0.1:9/x.png", "a URL of this machine", Reason.UNSAFE),
        ("new\nline\x1b[31m.png", "a path with a line break and terminal codes", MISSING),
        (7, "a number", BAD),
        ({"bytes": "text", "path": None}, "text in place of bytes", BAD),
        ([[["deep.png"]]], "lists of lists", BAD),
    ]:
        yield json.dumps({"prompt": "What is shown?", "image": path}).encode(), f"the image is {what}", reason
