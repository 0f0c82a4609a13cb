from schemas import records
from schemas.messages import (
    assistant,
    media_kinds,
    sample_label,
    sample_label_of,
    user,
    with_media,
    without_media,
)
from schemas.records import Message, Part, media_parts

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
PICTURE, CLIP, ITS_SOUND = Part("image", media=A), Part("video", media=B), Part("audio", media=B)
PROMPT = (user(PICTURE, "what is this ?"), assistant("a cup"), user(CLIP, ITS_SOUND))


def test_media_come_in_the_order_in_which_they_are_shown():
    assert media_parts(PROMPT) == [PICTURE, CLIP, ITS_SOUND]
    assert media_parts((user("hello"),)) == media_parts(()) == []


def test_a_video_that_is_heard_too_is_a_video():
    assert media_kinds(PROMPT) == {A: "image", B: "video"}
    assert media_kinds((user(ITS_SOUND, CLIP),)) == {B: "video"}
    assert media_kinds((user("hello"),)) == {}


def test_media_are_exchanged_in_their_places_and_others_stay():
    assert with_media(PROMPT, {A: C}) == (user(Part("image", media=C), "what is this ?"), *PROMPT[1:])
    assert with_media(PROMPT, {}) == PROMPT
    assert with_media((), {A: C}) == ()


def test_without_media_every_message_stays_also_one_that_had_nothing_else():
    assert without_media(PROMPT) == (user("what is this ?"), assistant("a cup"), Message("user", ()))
    assert without_media(()) == ()


def test_a_sample_is_called_by_its_place_or_else_by_its_id():
    sample = records.sample((user("hello"),))
    assert sample_label(sample._replace(source="rows.jsonl#7")) == "rows.jsonl#7"
    assert sample_label(sample) == sample_label_of(sample.id, "") == f"sample {sample.id}"
