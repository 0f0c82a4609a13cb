"""The layout is that of OpenAI's guide to direct preference optimization: input, preferred_output, non_preferred_output."""

import base64

import pytest

from pipeline.source.formats import openai
from pipeline.source.formats.draft import Turn
from schemas.records import Reason
from tests.support.dialects import BAD, EMPTY, EQUAL, MEDIA, asked, refused, texts, without


def says(*words: str, role: str = "assistant") -> list[dict]:
    return [{"role": role, "content": said} for said in words]


ROW = {
    "input": {"messages": says("Is it cold?", role="user"), "tools": [], "parallel_tool_calls": True},
    "preferred_output": says("Not quite."), "non_preferred_output": says("It is not particularly cold."),
}  # fmt: skip


def put(*parts: dict) -> dict:
    return ROW | {"input": {"messages": [{"role": "user", "content": list(parts)}]}}


WORDS = {"type": "text", "text": "Listen."}
SOUND = base64.b64encode(b"RIFF").decode()


def test_the_preferred_output_is_chosen():
    draft = openai.read(ROW)
    assert draft.prompt == asked("Is it cold?")
    assert texts(draft) == [("Not quite.", "chosen"), ("It is not particularly cold.", "rejected")]


def test_earlier_turns_and_the_system_message_are_the_prompt():
    talk = [*says("Be short.", role="system"), *says("Hi", role="user"), *says("Hello"), *says("Cold?", role="user")]
    prompt = openai.read(ROW | {"input": {"messages": talk}}).prompt
    assert [turn.role for turn in prompt] == ["system", "user", "assistant", "user"]
    assert prompt[2] == Turn("assistant", (("text", "Hello"),))


# OpenAI's content parts (input_audio, image_url; input_text and input_image of its newer interface) and Anthropic's content blocks
@pytest.mark.parametrize(
    ("part", "piece"),
    [
        ({"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}, ("audio", b"RIFF")),
        ({"type": "input_audio", "input_audio": {"data": f"data:audio/wav;base64,{SOUND}", "format": "wav"}}, ("audio", b"RIFF")),
        ({"type": "image_url", "image_url": {"url": "https://a.b/c.png", "detail": "low"}}, ("image", "https://a.b/c.png")),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SOUND}"}}, ("image", b"RIFF")),
        ({"type": "input_image", "image_url": "https://a.b/c.png"}, ("image", "https://a.b/c.png")),
        ({"type": "video_url", "video_url": {"url": "a.mp4"}}, ("video", "a.mp4")),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": SOUND}}, ("image", b"RIFF")),
        ({"type": "image", "source": {"type": "url", "url": "https://a.b/c.png"}}, ("image", "https://a.b/c.png")),
        ({"type": "image", "image": {"bytes": b"x", "path": None}}, ("image", {"bytes": b"x", "path": None})),
        ({"type": "image", "image": "a.png", "video": "", "audio": None}, ("image", "a.png")),
        ({"type": "input_text", "text": "Look."}, ("text", "Look.")),
    ],
)  # fmt: skip
def test_parts_are_the_media_in_their_places(part, piece):
    assert openai.read(put(part, WORDS)).prompt == asked(piece, "Listen.")


REFUSED = {
    "an input that is a list": (ROW | {"input": says("?", role="user")}, BAD, "input is a list"),
    "no messages": (ROW | {"input": {}}, BAD, "input.messages is missing"),
    "no output": (without(ROW, "preferred_output"), BAD, "preferred_output is missing"),
    "two messages": (ROW | {"preferred_output": says("a", "b")}, BAD, "preferred_output has 2 messages"),
    "an output of the user": (ROW | {"preferred_output": says("a", role="user")}, BAD, "from 'user'"),
    "an empty output": (ROW | {"non_preferred_output": says("")}, EMPTY, "rejected is empty"),
    "equal outputs": (ROW | {"non_preferred_output": says("Not quite.")}, EQUAL, "the same text"),
    "a file by its id": (put({"type": "file", "file": {"file_id": "f"}}), MEDIA, "a part of type 'file'"),
    "a source that is a file by its id": (put({"type": "image", "source": {"type": "file", "file_id": "f"}}), MEDIA, "is a file of another server"),
    "sound that is not base64": (put({"type": "input_audio", "input_audio": {"data": "%", "format": "wav"}}), BAD, "not valid base64"),
    "a tool's result": (put({"type": "tool_result", "content": "4"}), Reason.NOT_READ, "input.messages[0].content[0] is of type tool_result"),
    "a document": (put({"type": "document", "source": {"type": "text", "data": "x"}}), MEDIA, "a part of type 'document'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(openai, *REFUSED[name])
