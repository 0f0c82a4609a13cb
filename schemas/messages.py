"""Chat messages: constructors, views, and escaping of special tokens in data."""

import re
from collections.abc import Iterable, Mapping, Sequence

from schemas.records import Message, Part, Sample, media_parts
from schemas.special_tokens import GUARD, Specials, specials_of_families

# What most chat templates use for turns and media, in addition to the tokenizer's special tokens, which in-process engines know.
MARKUP = re.compile(
    r"<\|[^|<>\s]{1,40}\|>"
    r"|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<bos>|<eos>|<unk>|<pad>"
    r"|</?(?:image|img|video|audio|image_soft_token|audio_soft_token|IMG_CONTEXT|image_placeholder)>"
)


SEAM = 200  # characters; longer than any special token


def escape(text: str, specials: Specials | None = None) -> str:
    """`text` with an invisible word joiner inside every special token (by default of all known model families), so that data cannot open a
    turn or take the place of media. Idempotent."""
    pattern, signs = specials or specials_of_families()
    for sign in signs:
        if sign in text:
            break
    else:
        return text
    found = 1
    while found:  # escaping one token may expose another: <<SYS>>
        text, found = pattern.subn(lambda m: m[0][0] + GUARD + m[0][1:], text)
    return text


def escape_all(texts: Sequence[str], specials: Specials | None = None) -> list[str]:
    """Texts that a chat template may concatenate (those of a turn, if it puts media first), each escaped, including tokens that only their
    concatenation would form."""
    if len(texts) == 1:
        return [escape(texts[0], specials)]
    safe, before = [], ""
    for text in texts:
        text = escape(text, specials)
        seam = before + text[:SEAM]
        if before and escape(seam, specials) != seam:
            text = GUARD + text
        safe.append(text)
        before = (before + text)[-SEAM:]
    return safe


def user(*parts: Part | str) -> Message:
    """A user's message; plain strings become text parts."""
    return Message("user", tuple(Part("text", p) if isinstance(p, str) else p for p in parts))


def assistant(text: str) -> Message:
    """A message by the assistant."""
    return Message("assistant", (Part("text", text),))


def texts_in(parts: Iterable[Part]) -> list[str]:
    """The texts among `parts`, in order, one per part of type text; a missing text is empty."""
    return [part.text or "" for part in parts if part.type == "text"]


def text_of(messages) -> str:
    """The text of all parts, one per line, media as [image]."""
    return "\n".join(p.text if p.type == "text" else f"[{p.type}]" for m in messages for p in m.parts)


def readable(messages, between: str = "\n") -> str:
    """The messages for people: their texts; if there are several media, each as [image 1] in its place; if there are several turns, each with
    its role."""
    several = len(media_parts(messages)) > 1
    words, number = [], 0
    for message in messages:
        turn = []
        for part in message.parts:
            if part.type == "text":
                turn.append(part.text)
            else:
                number += 1
                turn += [f"[{part.type} {number}]"] if several else []
        words.append(f"{message.role}: {between.join(turn)}" if len(messages) > 1 else between.join(turn))
    return between.join(words)


def media_with_question(prompt: tuple[Message, ...], question: str) -> tuple[Message, ...]:
    """One user turn: the prompt's last user turn, with `question` at its end instead of its own question.

    The question of a turn is its last text; one between media is kept as well, as are all other texts and the media."""
    parts = [m for m in prompt if m.role == "user"][-1].parts
    media = [place for place, part in enumerate(parts) if part.type != "text"]
    own = max((place for place, part in enumerate(parts) if part.type == "text"), default=None)
    if own is None or (media and media[0] < own < media[-1]):
        return (Message("user", (*parts, Part("text", question))),)
    return (Message("user", (*parts[:own], *parts[own + 1 :], Part("text", question))),)


def question_of(prompt: tuple[Message, ...]) -> str:
    """The question of the last user turn: its last text; empty if it has none."""
    turn = [m for m in prompt if m.role == "user"][-1]
    texts = [p.text for p in turn.parts if p.type == "text"]
    return (texts[-1] or "") if texts else ""


def with_question(prompt: tuple[Message, ...], question: str) -> tuple[Message, ...]:
    """`prompt` with the question of its last user turn replaced by `question`; other turns are kept."""
    last = max(i for i, m in enumerate(prompt) if m.role == "user")
    return (*prompt[:last], *media_with_question(prompt, question), *prompt[last + 1 :])


def media_kinds(messages: Sequence[Message]) -> dict[str, str]:
    """{media id: kind} of all media of a prompt; a video that is also used as audio counts as video. Empty for a prompt without media."""
    shown = media_parts(messages)
    return {p.media: p.type for p in shown if p.media} | {
        p.media: p.type for p in shown if p.media and p.type == "video"
    }


def with_media(messages: Sequence[Message], new: Mapping[str, str]) -> tuple[Message, ...]:
    """The prompt with each media `id` replaced by `new[id]`, if that is given."""
    return tuple(
        m._replace(parts=tuple(p._replace(media=new.get(p.media, p.media)) if p.media else p for p in m.parts))
        for m in messages
    )


def without_media(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The prompt with its texts only: every message is kept, one with media only becomes empty."""
    return tuple(m._replace(parts=tuple(p for p in m.parts if not p.media)) for m in messages)


def sample_label(sample: Sample) -> str:
    """A sample's name in messages: its place in its source, else `sample ID`."""
    return sample_label_of(sample.id, sample.source)


def sample_label_of(name: str, source: str | None) -> str:
    """`sample_label`, given the id and source only."""
    return source or f"sample {name}"
