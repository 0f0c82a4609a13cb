"""What texts beside a medium say of it: a caption (`.txt`) or an object of columns (`.json`)."""

from typing import Any

import orjson

from pipeline.source.reading import bounds, json_rows
from pipeline.source.reading.bounds import MEDIA_COLUMNS
from schemas.errors import bad_row

LONGEST = 16 << 20  # bytes of a text
TEXTS = {".txt": "text", ".json": "json"}
_CAPTIONS = ("text", "caption")  # what columns of a caption are called


def described(texts: dict[str, bytes], names: dict[str, str], prompt: str | None) -> dict[str, Any]:
    """The columns of a row whose media have these `text` and `json` beside them; `names` are what they call ours.

    RowError when they are no such thing."""
    held: Any = {}
    if "json" in texts:
        json_rows.check_values(texts["json"])
        try:
            held = orjson.loads(texts["json"])
        except orjson.JSONDecodeError as error:
            raise bad_row(f"its .json is not JSON ({error}); mend it") from error
        if not isinstance(held, dict):
            raise bad_row(f"its .json is {type(held).__name__}, not an object; write it as {{...}}")
    if "text" in texts:
        try:
            held = {**held, "text": texts["text"].decode("utf-8-sig").strip()}
        except UnicodeDecodeError as error:
            raise bad_row("its .txt is not UTF-8; write it as UTF-8") from error
    if sum(map(len, texts.values())) > bounds.TEXT:
        bounds.check(held)
    return captioned(held, names, prompt)


def captioned(held: dict[str, Any], names: dict[str, str], prompt: str | None) -> dict[str, Any]:
    """The columns with a prompt: their own, else `prompt`, and the caption is the reference; without either the caption is the prompt."""
    held = {title: value for title, value in held.items() if title not in MEDIA_COLUMNS}
    asked, reference = names["prompt"], names["reference"]
    caption = next((held[title] for title in _CAPTIONS if held.get(title)), None)
    if held.get(asked) is None:
        held[asked] = prompt or caption
        caption = caption if prompt else None
    if held.get(reference) is None and caption is not None and caption != held[asked]:
        held[reference] = caption
    return held
