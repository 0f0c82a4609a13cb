"""Captions (`.txt`) and columns (`.json`) stored next to a media file."""

from typing import Any

from pipeline.source.reading import bounds, json_rows
from pipeline.source.reading.bounds import MEDIA_COLUMNS
from schemas.errors import bad_row

LONGEST = 16 << 20  # maximum bytes of a caption or column file
TEXTS = {".txt": "text", ".json": "json"}
CAPTIONS = ("text", "caption")  # column names for captions


def columns_from_texts(texts: dict[str, bytes], names: dict[str, str], prompt: str | None) -> dict[str, Any]:
    """The columns of a media file that has these `text` and `json` files next to it; `names` maps our column names to the file's.

    Without either, only the prompt. RowError if a file is not UTF-8, not a JSON object or too large."""
    values: Any = {}
    if "json" in texts:
        values = json_rows.parse(texts["json"], ".json", {*names.values(), *CAPTIONS})
    if "text" in texts:
        try:
            values = {**values, "text": texts["text"].decode("utf-8-sig").strip()}
        except UnicodeDecodeError as error:
            raise bad_row("its .txt is not UTF-8; save it as UTF-8") from error
    if sum(map(len, texts.values())) > bounds.TEXT:
        bounds.check(values)
    return with_prompt(values, names, prompt)


def with_prompt(values: dict[str, Any], names: dict[str, str], prompt: str | None) -> dict[str, Any]:
    """Adds a prompt to the columns: an existing one is kept; else `prompt`, with the caption as reference; else the caption itself."""
    values = {title: value for title, value in values.items() if title not in MEDIA_COLUMNS}
    prompt_column, reference = names["prompt"], names["reference"]
    caption = next((values[title] for title in CAPTIONS if values.get(title)), None)
    if values.get(prompt_column) is None:
        values[prompt_column] = prompt or caption
        caption = caption if prompt else None
    if values.get(reference) is None and caption is not None and caption != values[prompt_column]:
        values[reference] = caption
    return values
