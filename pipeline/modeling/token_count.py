"""Counts the tokens of a prompt without loading a model: by its tokenizer and chat template if available, otherwise estimated.

Media count as their placeholder tokens only: how many tokens an image becomes is decided by the model's processor."""

import json
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from schemas.records import Message

CHARACTERS = 4  # per token of English text, according to OpenAI's help pages
AROUND = 4  # tokens around a turn
FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


class Counter:
    """Counts tokens; `how` describes the method."""

    def __init__(self, folder: Path | None):
        """`folder`: contains the model's tokenizer and template. Without it, or without a tokenizer file, counts are estimated."""
        self._tokenizer: Tokenizer | None = None
        self._template: jinja2.Template | None = None
        self._names: dict[str, str] = {}
        self.how = f"{CHARACTERS} characters per token"
        if folder is not None and (folder / FILES[0]).is_file():
            self._tokenizer = Tokenizer.from_file(str(folder / FILES[0]))
            self.how = "its own tokenizer"
            self._read(folder)

    def _read(self, folder: Path) -> None:
        config = _json(folder / FILES[1])
        self._names = {k: v for k, v in config.items() if k.endswith("_token") and isinstance(v, str)}
        template = config.get("chat_template")
        if (folder / FILES[2]).is_file():
            template = (folder / FILES[2]).read_text()
        if isinstance(template, str):
            environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
            environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
            self._template = environment.from_string(template)

    def text(self, text: str) -> int:
        """Tokens of a text, without special tokens; 0 for an empty one."""
        if self._tokenizer is None:
            return -(-len(text) // CHARACTERS)
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt(self, messages: tuple[Message, ...]) -> int:
        """Tokens of a chat as an engine renders it, each media item as its placeholder."""
        if self._template is not None:
            try:
                return self.text(self._rendered(self._template, messages))
            except (jinja2.TemplateError, TypeError):  # a template that needs other variables
                self._template = None
        parts = [self.text(part.text or "") if part.type == "text" else 1 for m in messages for part in m.parts]
        return sum(parts) + AROUND * len(messages)

    def _rendered(self, template: jinja2.Template, messages: tuple[Message, ...]) -> str:
        """The rendered chat; ends with the text of a last turn by the assistant, which is to be continued."""
        turns = [{"role": m.role, "content": _content(m)} for m in messages]
        continued = messages[-1].role == "assistant"
        text = template.render(messages=turns, add_generation_prompt=not continued, **self._names)
        words = (messages[-1].parts[-1].text or "").strip() if continued else ""
        return text[: text.rindex(words) + len(words)] if words in text and words else text


def _content(message: Message) -> str | list[dict[str, Any]]:
    if len(message.parts) == 1 and message.parts[0].type == "text":
        return message.parts[0].text or ""
    return [{"type": part.type, **({"text": part.text} if part.type == "text" else {})} for part in message.parts]


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
