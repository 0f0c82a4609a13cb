"""Prompts whose media are corrupted, as makers ask for them; and what a real model says to corrupted files."""

import asyncio

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.corrupt._apply import Spec, corrupted_prompt
from schemas import messages
from schemas.errors import RecipeError, RowError
from schemas.records import Part, sample
from schemas.requests import Generate, Generated
from tests.support.media_files import jpeg, mp4, png, wav
from tests.support.rows import context


class Maker(BaseModel):
    media: Spec | None = None


def show(shop, asked, spec):
    return asyncio.run(corrupted_prompt(asked.prompt, spec, asked, context("make", shop.store)))


def ids(prompt) -> list[str]:
    return [part.media for message in prompt for part in message.parts if part.media]


def test_a_name_a_mapping_and_the_typed_setting_are_the_same(shop):
    asked = shop.asked(png())
    typed = Maker(media={"kind": "diffusion", "t": 300}).media
    named, mapped, again = (show(shop, asked, s) for s in ("diffusion", {"kind": "diffusion", "t": 300}, typed))
    assert mapped == again
    assert named != mapped
    assert Maker(media="black").model_dump(mode="json") == {"media": {"kind": "black", "seed": 0}}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("crob", "did you mean 'crop'"),
        ({"kind": "crop", "ara": [0.1, 0.2]}, "crop: unknown setting 'ara'; did you mean 'area'"),
        ({"kind": "diffusion", "t": 1000}, "less than 1000"),
        ({"area": [0.1, 0.2]}, "unknown corruption kind 'None'"),
        ({"kind": "adversarial"}, "Field required"),
        ({"kind": "region_mask", "box": [0.5, 0.1, 0.2, 0.9]}, "`box` must be [left, top, right, bottom]"),
        ({"kind": "swap", "by": "embedding"}, "`by: embedding` needs a `model`"),
    ],
)
def test_a_wrong_spec_says_what_would_be_right(spec, said):
    with pytest.raises(ValidationError) as error:
        Maker(media=spec)
    assert said in str(error.value)


def test_every_picture_is_replaced_in_its_place_and_kept(shop):
    asked = shop.asked(png(1), png(2))
    prompt, made = show(shop, asked, "crop")
    assert ids(prompt) == [m.id for m in made]
    assert len({*ids(prompt), *asked.media}) == 4
    assert [(p.type, p.text) for p in prompt[0].parts] == [(p.type, p.text) for p in asked.prompt[0].parts]
    assert [m.source for m in made] == [f"crop of {old[:12]}" for old in asked.media]
    assert all(shop.store.read(m.id)[:4] == b"\x89PNG" and m.mime == "image/png" for m in made)
    assert show(shop, asked, "crop") == (prompt, made)


def test_a_picture_that_is_shown_twice_is_made_once(shop):
    asked = shop.asked(png(1), png(1))
    prompt, (made,) = show(shop, asked, "crop")
    assert ids(prompt) == [made.id] * 2


def test_a_video_and_its_own_sound_stay_one_file(shop):
    clip = shop.media(mp4(8, 1.0, sound=True)).id
    asked = sample((messages.user(Part("audio", media=clip), Part("video", media=clip), "what is said ?"),))
    for kind in ("reverse", "mute"):
        prompt, (made,) = show(shop, asked, kind)
        assert ids(prompt) == [made.id] * 2
        assert (made.kind, made.rate) == ("video", 48_000)


def test_media_that_a_kind_is_not_for_stay(shop):
    asked = shop.asked(png(), wav())
    prompt, (made,) = show(shop, asked, "blur")
    assert ids(prompt) == [made.id, asked.media[1]]
    prompt, (made,) = show(shop, asked, "noise")
    assert ids(prompt) == [asked.media[0], made.id]


def test_none_leaves_all_media_out(shop):
    asked = shop.asked(png(), wav())
    prompt, made = show(shop, asked, "none")
    assert (prompt, made) == ((messages.user("what is there ?"),), [])
    alone = sample((messages.user(Part("image", media=asked.media[0])),))
    with pytest.raises(RowError, match="only media") as error:
        show(shop, alone, "none")
    assert error.value.reason == "empty_prompt"


def test_a_kind_that_is_for_none_of_the_media_names_those_it_is_for(shop):
    with pytest.raises(RowError) as error:
        show(shop, shop.asked(wav(), source="rows.jsonl#3"), "crop")
    assert error.value.reason == "unsupported_media"
    assert error.value.detail == "rows.jsonl#3: crop applies to image and video, the prompt has audio; use another kind"
    with pytest.raises(RowError, match="the prompt has no media"):
        show(shop, sample((messages.user("why ?"),)), "black")


def test_the_box_may_be_a_fact(shop):
    box = {"kind": "region_mask", "box": [0.25, 0.25, 0.75, 0.75]}
    plain, known = shop.asked(png()), shop.asked(png(), facts='{"bbox": [16, 12, 48, 36]}')  # of 64 x 48
    assert show(shop, plain, box) == show(shop, known, "region_mask")
    for facts in (None, '{"bbox": null}', '{"bbox": [5, 5, 4, 9]}', '{"bbox": ["a", 1, 2, 3]}'):
        with pytest.raises(RowError, match="no valid `bbox`") as error:
            show(shop, shop.asked(png(), facts=facts), "region_mask")
        assert error.value.reason == "bad_row"


def test_a_broken_picture_is_named(shop):
    name = shop.store.add(jpeg()[:300])
    broken = sample((messages.user(Part("image", media=name), "?"),), source="rows.jsonl#9")
    with pytest.raises(RowError) as error:
        show(shop, broken, "blur")
    assert (error.value.reason, name[:12] in error.value.detail) == ("undecodable", True)
    assert error.value.detail.startswith("rows.jsonl#9: image ")


def test_only_a_step_that_sees_all_samples_swaps(shop):
    with pytest.raises(RecipeError, match="make cannot use `swap`, which needs all samples first"):
        show(shop, shop.asked(png()), "swap")


def test_an_engine_without_gradients_is_refused(shop):
    with pytest.raises(RecipeError, match="policy cannot perturb images; use a model on the engine hf"):
        show(shop, shop.asked(png()), {"kind": "adversarial", "model": "policy"})


def test_the_pass_goes_on_while_a_clip_is_worked_on(shop):
    asked = shop.asked(mp4(60, 6.0))

    async def both():
        ticks = 0
        work = asyncio.ensure_future(corrupted_prompt(asked.prompt, "diffusion", asked, context("make", shop.store)))
        while not work.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return ticks

    assert asyncio.run(both()) > 10  # decoding, noise and encoding take a tenth of a second at least


def test_the_model_answers_to_every_corrupted_medium(runner, vllm_engine, media_store):
    """The tiny model takes pictures of 64 x 64; what it is shown is what was made, and not what was there."""
    from pipeline.media.probe import probe_and_store

    files = {"image": (png(1, 64, 64), "crop"), "video": (mp4(8, 1.0), "reverse"), "audio": (wav(1.0), "noise")}

    async def answers(data: bytes, medium: str, spec: str):
        asked = sample(
            (messages.user(Part(medium, media=probe_and_store(data, "it", media_store).id), "what is there ?"),)
        )
        prompt, (made,) = await corrupted_prompt(asked.prompt, spec, asked, context("make", media_store))
        assert ids(prompt) == [made.id] != list(asked.media)
        return await asyncio.gather(
            *[vllm_engine.ask(Generate(p, temperature=0.0, max_tokens=16)) for p in (asked.prompt, prompt)]
        )

    for medium, (data, spec) in files.items():
        plain, worse = runner.run(answers(data, medium, spec))
        assert isinstance(worse, Generated), worse
        assert worse.answers[0].tokens > 0
        assert worse.prompt_tokens == plain.prompt_tokens  # as large, as long
