"""The HTTP engine against a scripted server on loopback."""

import asyncio
import base64
import io
import json
import math
import socket
import time

import numpy as np
import pytest
import soundfile
from aiohttp import web
from PIL import Image
from pydantic import ValidationError

from pipeline.engines import openai
from pipeline.engines.remote import bodies, endpoints, http
from pipeline.media.decode import decode_image
from pipeline.media.portable import sent_id
from schemas import messages
from schemas.errors import EngineError, RecipeError
from schemas.records import Message, Part, Reason
from schemas.requests import Answer, Embed, Failure, Form, Generate, Generated, Likelihood, Score, Scored
from tests.support import endpoint as endpoint_module
from tests.support.endpoint import NO_FAULTS, Endpoint, served, unit
from tests.support.media_files import flac, image_file, jpeg, mp3, mp4, png, tone, wav

KEY = "sk-very-secret"


@pytest.fixture
def endpoint():
    return Endpoint()


@pytest.fixture
def base_url(endpoint):
    with served(endpoint) as url:
        yield url


@pytest.fixture
def ask(base_url, media_store):
    """Asks all requests at once of a fresh engine; the results in their order."""

    def together(*requests, **settings):
        return asyncio.run(_ask(openai.Settings(**{"base_url": base_url, "model": "scripted"} | settings), requests))

    async def _ask(settings, requests):
        engine = await openai.connect(settings, media_store)
        try:
            return await asyncio.gather(*map(engine.ask, requests))
        finally:
            await engine.close()

    return together


@pytest.fixture
def soon(monkeypatch):
    """Retries wait a hundredth of their time."""
    pause = endpoints.backoff_seconds
    monkeypatch.setattr(endpoints, "backoff_seconds", lambda times: pause(times) / 100)


def question(number: int = 0) -> tuple[Message, ...]:
    return (messages.user(f"question {number}"),)


# what is sent


def test_a_body_is_what_the_protocol_says(ask, endpoint, media_store):
    endpoint.keep_bodies = True
    picture, other = media_store.add(png(1)), media_store.add(jpeg(2))
    prompt = (
        Message("system", (Part("text", 'be "brief"\n'),)),
        messages.user("first", Part("image", media=picture), "second", Part("image", media=other), "which ?"),
    )
    ask(Generate(prompt, n=3, temperature=0.5, top_p=0.9, max_tokens=64, seed=7))
    url = "data:image/{};base64,{}".format
    assert endpoint.bodies == [{
        "model": "scripted", "n": 3, "temperature": 0.5, "top_p": 0.9, "max_tokens": 64, "seed": 7,
        "messages": [
            {"role": "system", "content": 'be "brief"\n'},
            {"role": "user", "content": [
                {"type": "text", "text": "first"},
                {"type": "image_url", "image_url": {"url": url("png", base64.b64encode(png(1)).decode())}},
                {"type": "text", "text": "second"},
                {"type": "image_url", "image_url": {"url": url("jpeg", base64.b64encode(jpeg(2)).decode())}},
                {"type": "text", "text": "which ?"},
            ]},
        ],
    }]  # fmt: skip


def test_sounds_and_videos_are_sent_as_wav_or_mp3_and_mp4(ask, endpoint, media_store):
    endpoint.keep_bodies = True
    sounds = [media_store.add(data) for data in (wav(), mp3(), flac())]
    prompt = (
        messages.user(*(Part("audio", media=sha) for sha in sounds), Part("video", media=media_store.add(mp4()))),
    )
    ask(Generate(prompt))
    *heard, shown = endpoint.bodies[0]["messages"][0]["content"]
    assert [part["input_audio"]["format"] for part in heard] == ["wav", "mp3", "wav"]
    first, second, third = (base64.b64decode(part["input_audio"]["data"]) for part in heard)
    assert (first, second) == (wav(), mp3())
    # FLAC becomes 16 kHz, 16 bits: the same second of the tone, with a step of 1 / 32768
    assert np.abs(soundfile.read(io.BytesIO(third))[0] - tone(1, 16000)).max() < 1e-4
    assert shown["video_url"]["url"] == "data:video/mp4;base64," + base64.b64encode(mp4()).decode()


def test_pictures_are_sent_as_every_model_is_to_see_them(ask, endpoint, media_store):
    """A server that decodes stored pixels, without EXIF, transparency or 16 bits, sees what `decode_image` shows."""
    endpoint.keep_bodies = True
    upright = [media_store.add(data) for data in TURNED.values()]
    ask(Generate((messages.user(*(Part("image", media=sha) for sha in upright), "which ?"),)))
    *sent, _ = endpoint.bodies[0]["messages"][0]["content"]
    for data, part in zip(TURNED.values(), sent, strict=True):
        kind, _, body = part["image_url"]["url"].partition(";base64,")
        assert kind == "data:image/png"
        seen = Image.open(io.BytesIO(base64.b64decode(body)))
        assert seen.mode == "RGB"
        assert np.array_equal(np.asarray(seen), np.asarray(decode_image(data)))


def halves(mode: str = "RGB", left=(200, 0, 0), right=(0, 0, 200)) -> Image.Image:
    picture = Image.new(mode, (96, 64), right)
    picture.paste(left, (0, 0, 48, 64))
    return picture


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


TURNED = {
    "EXIF": image_file(halves(), "JPEG", exif=turned()),
    "transparent": image_file(halves("RGBA", (0, 0, 0, 0), (0, 0, 200, 128)), "PNG"),
    "16 bits": image_file(Image.fromarray(np.full((8, 8), 0x4080, np.uint16)), "PNG"),
    "ink": image_file(halves().convert("CMYK"), "JPEG"),
    "TIFF": image_file(halves(), "TIFF"),
    "GIF": image_file(halves(), "GIF"),
    "BMP": image_file(halves(), "BMP"),
    "AVIF": image_file(halves(), "AVIF"),
}


def test_the_sound_of_a_video_is_sent_as_a_wav(ask, endpoint, media_store):
    endpoint.keep_bodies = True
    clip = media_store.add(mp4(sound=True))
    ask(Generate((messages.user(Part("video", media=clip), Part("audio", media=clip), "What is said?"),)))
    video, sound, _ = endpoint.bodies[0]["messages"][0]["content"]
    assert video["video_url"]["url"].startswith("data:video/mp4;base64,")
    assert sound["input_audio"]["format"] == "wav"
    assert base64.b64decode(sound["input_audio"]["data"]).startswith(b"RIFF")


def test_a_clip_is_read_and_encoded_once_for_all_its_requests(ask, endpoint, media_store, monkeypatch):
    endpoint.keep_bodies = True
    clip, picture = media_store.add(mp4(sound=True)), media_store.add(png(3))
    wave = sent_id(media_store, clip, "audio")
    assert (sent_id(media_store, clip, "video"), sent_id(media_store, picture, "image")) == (clip, picture)
    encoded, reads = [], []
    b64encode, of = bodies.pybase64.b64encode, type(media_store).read
    monkeypatch.setattr(bodies.pybase64, "b64encode", lambda data: encoded.append(1) or b64encode(data))
    monkeypatch.setattr(type(media_store), "read", lambda store, sha: reads.append(sha) or of(store, sha))
    heard = Part("video", media=clip), Part("audio", media=clip)
    ask(*(Generate((messages.user(*heard, f"question {i}"),)) for i in range(20)),
        *(Score((messages.user(Part("image", media=picture), f"question {i}"),), ("yes", "no")) for i in range(20)))  # fmt: skip
    assert len(endpoint.bodies) == 40
    # the video, its sound, the picture
    assert len(encoded) == 3
    assert sorted(reads) == sorted([clip, wave, picture])


def test_what_is_asked_beside_the_usual_is_sent_only_when_it_is_asked(ask, endpoint):
    endpoint.keep_bodies = True
    ask(Generate(question(), top_k=5, stop=(" a", "."), logprobs=True))
    usual = {"model", "messages", "n", "temperature", "top_p", "max_tokens", "seed"}
    assert {name: said for name, said in endpoint.bodies[0].items() if name not in usual} == {
        "top_k": 5, "stop": [" a", "."], "logprobs": True,
    }  # fmt: skip


def test_a_vllm_server_is_asked_not_to_take_its_models_own_sampling(ask, endpoint):
    endpoint.keep_bodies = True
    ask(Generate(question()), server="vllm")
    assert {n: endpoint.bodies[0][n] for n in ("top_k", "repetition_penalty", "min_p")} == {
        "top_k": 0, "repetition_penalty": 1.0, "min_p": 0.0,
    }  # fmt: skip


def test_text_cannot_carry_special_tokens_not_even_cut_in_two(ask, endpoint):
    endpoint.keep_bodies = True
    ask(Generate((messages.user("<|im_end|> <|IMA", "GE|>"),)))
    assert endpoint.bodies[0]["messages"][0]["content"] == "<\u2060|im_end|> <\u2060|IMAGE|>"


@pytest.mark.parametrize(
    ("settings", "broken"),
    [({}, "all"), ({"model": "Qwen/Qwen2.5-VL-7B-Instruct"}, "qwen"), ({"family": "qwen"}, "qwen"), ({"family": "none"}, "none"),
     ({"model": "Qwen/Qwen2.5-VL-7B-Instruct", "family": "mistral"}, "mistral")],
)  # fmt: skip
def test_the_servers_family_says_which_tokens_are_broken(ask, endpoint, media_store, settings, broken):
    endpoint.keep_bodies = True
    ask(Generate((messages.user("<|im_end|> [IMG] <｜User｜> <end_of_turn>"),)), **settings)
    (sent,) = (body["messages"][0]["content"] for body in endpoint.bodies)
    assert sent.replace("\u2060", "") == "<|im_end|> [IMG] <｜User｜> <end_of_turn>"
    assert sent.count("\u2060") == {"all": 4, "qwen": 1, "mistral": 2, "none": 0}[broken]


def test_a_token_that_media_cut_in_two_is_broken_too(ask, endpoint, media_store):
    endpoint.keep_bodies = True
    picture = Part("image", media=media_store.add(png(1)))
    ask(Generate((messages.user("a <|im_", picture, "start|> b"),)))
    assert [part.get("text") for part in endpoint.bodies[0]["messages"][0]["content"]] == [
        "a <|im_",
        None,
        "\u2060start|> b",
    ]


def test_a_token_that_turns_cut_in_two_is_broken_too(ask, endpoint):
    endpoint.keep_bodies = True
    ask(Generate((Message("system", (Part("text", "a <|im_"),)), messages.user("start"), messages.user("|> b"))))
    assert "<|im_start|>" not in "".join(message["content"] for message in endpoint.bodies[0]["messages"])


def test_a_family_that_is_not_known_is_answered_with_those_that_are():
    with pytest.raises(
        ValidationError,
        match=r"unknown family 'qwenn'; did you mean 'qwen'\? available: aria, auto, .*, none, .*, yi",
    ):
        openai.Settings(base_url="http://127.0.0.1:1/v1", model="m", family="qwenn")


def test_a_last_turn_of_the_assistant_is_to_be_continued(ask, endpoint):
    endpoint.keep_bodies = True
    ask(Generate((*question(), messages.assistant("I see"))))
    assert endpoint.bodies[0]["continue_final_message"] is True
    assert endpoint.bodies[0]["add_generation_prompt"] is False


def test_a_large_body_arrives_whole(ask, endpoint):
    endpoint.keep_bodies = True
    text = "word " * 500_000
    ask(Generate((messages.user(text),)))
    assert endpoint.bodies[0]["messages"][0]["content"] == text


# what comes back


def test_n_answers_come_in_order_and_share_the_tokens_that_were_counted(ask):
    first, again, other = ask(*(Generate(question(i), n=4, seed=2) for i in (0, 0, 1)))
    assert isinstance(first, Generated)
    assert first == again != other
    assert len({a.text for a in first.answers}) == 4
    assert {a.finish for a in first.answers} == {"stop"}
    # the server counts words, and counts them together
    assert sum(a.tokens for a in first.answers) == sum(len(a.text.split()) for a in first.answers)
    assert min(a.tokens for a in first.answers) >= 2


def test_a_score_reads_the_first_tokens_and_says_none_for_what_is_not_listed(ask):
    (score,) = ask(Score(question(), ("yes", "no", " Yes", "never")))
    assert isinstance(score, Scored)
    yes, no, capital, never = score.logprobs
    assert never is None
    # the server gives no 97 % and " Yes" 2 % of what yes leaves
    rest = 1 - math.exp(yes)
    assert math.exp(no) == pytest.approx(0.97 * rest, abs=1e-4)
    assert math.exp(capital) == pytest.approx(0.02 * rest, abs=1e-4)
    assert yes == round(yes, 4)


def test_a_token_with_a_space_serves_the_choice_without_one_unless_both_are_asked(ask):
    (without,) = ask(Score(question(), ("Yes",)))
    (both,) = ask(Score(question(), ("Yes", " Yes")))
    assert without.logprobs == (both.logprobs[1],)
    assert both.logprobs[0] is None


def test_log_probabilities_are_those_of_each_token(ask):
    (result,) = ask(Generate(question(), n=2, logprobs=True))
    assert len(result.answers) == 2
    for answer in result.answers:
        # the server says of each word what this says
        each = tuple(-round(unit(word), 4) for word in answer.text.split())
        assert (answer.tokens, answer.token_logprobs) == (len(each), each)
        assert answer.logprob == pytest.approx(sum(each), abs=1e-4)


def test_an_answer_without_the_log_probabilities_that_were_asked_for_is_a_failure(ask, monkeypatch):
    said = endpoint_module.reply
    monkeypatch.setattr(endpoint_module, "reply", lambda body: said({**body, "logprobs": False}))
    (result,) = ask(Generate(question(), logprobs=True))
    assert result.reason == Reason.ENGINE_REFUSED
    assert "returns no log-probabilities" in result.detail


SCHEMA = json.dumps({
    "type": "object", "properties": {"rating": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["rating"], "additionalProperties": False,
})  # fmt: skip


def test_a_form_is_kept_by_a_server_that_knows_schemas(ask, endpoint):
    endpoint.keep_bodies = True
    choice, schema, regex = ask(
        *(Generate(question(), max_tokens=4, form=f) for f in (Form(choice=("yes", "no")), Form(schema=SCHEMA), Form(regex="c(up|at)")))
    )  # fmt: skip
    assert choice.answers[0].text in ("yes", "no")
    assert json.loads(schema.answers[0].text)["rating"] in range(1, 6)
    assert regex.answers[0].text == "cup"
    asked = sorted(endpoint.bodies, key=lambda body: str(body["response_format"]["json_schema"]["schema"]))
    inner = [body["response_format"]["json_schema"]["schema"]["properties"] for body in asked]
    assert inner == [
        {"answer": {"type": "string", "enum": ["yes", "no"]}},
        {"answer": {"type": "string", "pattern": "^(?:c(up|at))$"}},
        json.loads(SCHEMA)["properties"],
    ]
    # the object around an answer has room of its own
    assert [body["max_tokens"] for body in asked] == [20, 20, 4]


@pytest.mark.parametrize("form", [Form(choice=("yes", "no")), Form(schema=SCHEMA), Form(regex="yes|no")])
@pytest.mark.parametrize("server", ["vllm", "openai"])
def test_a_form_that_the_server_passes_over_is_asked_once_more_and_then_a_failure(
    ask, endpoint, soon, monkeypatch, form, server
):
    said = endpoint_module.reply
    ignoring = lambda body: said({name: value for name, value in body.items() if name != "response_format"})
    monkeypatch.setattr(endpoint_module, "reply", ignoring)
    (result,) = ask(Generate(question(), form=form), server=server)
    assert result.reason == Reason.ENGINE_FAILED
    assert "does not conform to the requested form" in result.detail
    assert endpoint.questions.total() == 2


def test_an_answer_that_was_cut_off_keeps_what_it_has_of_its_form(ask, monkeypatch):
    monkeypatch.setattr(endpoint_module, "formed", lambda *_: {"rating": "a long story"})
    cut, whole = ask(
        Generate(question(), max_tokens=2, form=Form(schema=SCHEMA)), Generate(question(), form=Form(schema=SCHEMA))
    )
    assert cut.answers[0] == Answer('{"rating": "a', cut.answers[0].tokens, "length")
    assert whole.reason == Reason.ENGINE_FAILED


def test_what_only_another_engine_can_is_a_failure_that_says_which(ask):
    told = (*question(), messages.assistant("a cup"))
    embedded, likely = ask(Embed(question()), Likelihood(told))
    assert (embedded.reason, likely.reason) == (Reason.ENGINE_REFUSED, Reason.ENGINE_REFUSED)
    assert "use the engine hf" in embedded.detail
    assert "only vLLM returns the likelihood" in likely.detail
    (pretended,) = ask(Likelihood(told), server="vllm")
    assert "it is not vLLM; set server: openai" in pretended.detail


def test_what_was_done_is_counted(base_url, media_store):
    async def run():
        engine = await openai.connect(openai.Settings(base_url=base_url, model="scripted"), media_store)
        results = await asyncio.gather(*(engine.ask(Generate(question(i), n=2)) for i in range(5)))
        await engine.close()
        return engine, results

    engine, results = asyncio.run(run())
    assert engine.requests == 5
    assert engine.prompt_tokens == sum(r.prompt_tokens for r in results)
    assert engine.answer_tokens == sum(a.tokens for r in results for a in r.answers)
    assert 0 < engine.seconds < 5


def test_no_more_requests_are_in_flight_than_there_are_slots(base_url, endpoint, media_store):
    endpoint.faults["delay"] = 0.05
    settings = openai.Settings(base_url=base_url, model="scripted", slots=4)

    async def run():
        engine = await openai.connect(settings, media_store)
        await asyncio.gather(*(engine.ask(Generate(question(i))) for i in range(12)))
        await engine.close()
        return engine.seconds

    assert asyncio.run(run()) >= 0.15  # 12 requests, 4 at a time, 0.05 s each


# servers that take other parameters, or give fewer answers


def test_a_server_that_gives_one_answer_is_asked_for_each_with_a_seed_of_its_own(ask, endpoint, monkeypatch):
    endpoint.keep_bodies = True
    expected = ask(*(Generate(question(i), n=3, seed=10 * i) for i in range(4)))
    endpoint.bodies.clear()
    said = endpoint_module.reply
    monkeypatch.setattr(endpoint_module, "reply", lambda body: said({**body, "n": 1}))
    assert [
        [a.text for a in r.answers] for r in ask(*(Generate(question(i), n=3, seed=10 * i) for i in range(4)), slots=1)
    ] == [[a.text for a in r.answers] for r in expected]
    # the first was asked for three; after that the server is known
    assert [body["n"] for body in endpoint.bodies] == [3] + [1] * 11
    assert sorted(body["seed"] for body in endpoint.bodies) == [10 * i + k for i in range(4) for k in range(3)]
    endpoint.bodies.clear()
    ask(Generate(question(9), n=2))  # another engine of this process
    assert [body["n"] for body in endpoint.bodies] == [1, 1]


def test_a_refused_parameter_is_learnt_once_and_said(ask, endpoint, caplog):
    endpoint.keep_bodies = True

    def twist(body, said):
        if "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            return web.json_response({"error": {"message": message, "param": "max_tokens"}}, status=400)
        return said

    endpoint.twist = twist
    assert all(isinstance(r, Generated) for r in ask(*(Generate(question(i)) for i in range(20)), slots=4))
    assert sum("max_tokens" in body for body in endpoint.bodies) <= 4
    assert "max_completion_tokens for max_tokens" in caplog.text
    endpoint.bodies.clear()
    ask(Generate(question(50)))
    assert [("max_tokens" in body, body["max_completion_tokens"]) for body in endpoint.bodies] == [(False, 512)]


# replies that cannot be used


def test_an_unreadable_reply_is_asked_once_more_and_is_then_an_open_failure(ask, endpoint, soon):
    endpoint.twist = lambda body, said: (
        said | {"choices": [{"index": 0, "message": {"content": {"text": "a"}}, "finish_reason": "stop"}]}
    )
    (result,) = ask(Generate(question()))
    assert result.reason == Reason.ENGINE_FAILED
    assert result.detail.startswith("cannot parse the server's reply (its content is an object): {")
    assert endpoint.questions.total() == 2


def test_a_reply_may_come_with_another_status_of_success(ask, endpoint, soon):
    endpoint.twist = lambda body, said: web.json_response(said, status=201)
    assert isinstance(ask(Generate(question()))[0], Generated)
    endpoint.twist = lambda body, said: web.Response(status=206, text='{"choices": [')
    (result,) = ask(Generate(question(1)), retries=1)
    assert "cannot parse the server's reply (status 206, it is not JSON)" in result.detail


def test_a_reply_that_is_too_large_is_an_open_failure(ask, endpoint, soon, monkeypatch):
    monkeypatch.setattr(http, "LONGEST_BODY", 1 << 20)
    endpoint.twist = lambda body, said: said | {"more": "x" * (2 << 20)}
    (result,) = ask(Generate(question()))
    assert (result.reason, "the server's reply is larger than" in result.detail) == (Reason.ENGINE_FAILED, True)
    assert endpoint.questions.total() == 2


def test_a_redirect_to_another_server_is_named_without_its_query(ask, endpoint):
    endpoint.twist = lambda body, said: web.Response(
        status=307, headers={"Location": "https://me:secret@other.test/v1?token=abc"}
    )
    with pytest.raises(
        EngineError,
        match=r"redirects \(307\) to https://other\.test/v1; if that is right, set it as base_url",
    ):
        ask(Generate(question()))


# faults


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"kind": "drop"}, {"kind": "garbage"}])
def test_a_passing_fault_loses_nothing(ask, endpoint, soon, fault):
    requests = [Generate(question(i)) for i in range(40)]
    expected = ask(*requests)
    endpoint.questions.clear()
    endpoint.faults = NO_FAULTS | {"share": 0.5} | fault
    assert ask(*requests) == expected
    assert 40 < endpoint.questions.total() < 80  # half of them twice


def test_a_hanging_answer_is_asked_again(ask, endpoint, soon):
    endpoint.faults = NO_FAULTS | {"share": 1, "kind": "hang"}
    (result,) = ask(Generate(question()), timeout=0.3)
    assert isinstance(result, Generated)


@pytest.mark.parametrize("status", [429, 503, 500])
def test_the_server_says_how_long_to_wait(ask, endpoint, status):
    endpoint.faults = NO_FAULTS | {"share": 1, "status": status, "retry_after": 0.3}
    started = time.monotonic()
    (result,) = ask(Generate(question()))
    assert isinstance(result, Generated)
    assert 0.3 <= time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    ("fault", "detail", "asked"),
    [
        ({"status": 503}, "the server answered 503 at every retry: scripted fault", 3),
        ({"kind": "drop"}, "the connection to the server broke", 3),
        ({"kind": "hang"}, "did not answer within 0.2 seconds", 3),
        ({"kind": "garbage"}, "cannot parse the server's reply", 3),
    ],
)
def test_a_lasting_fault_is_one_failure(ask, endpoint, soon, fault, detail, asked):
    endpoint.faults = NO_FAULTS | {"share": 1, "times": 99} | fault
    (result,) = ask(Generate(question()), retries=2, timeout=0.2)
    assert result.reason == Reason.ENGINE_FAILED
    assert detail in result.detail
    assert endpoint.questions.total() == asked


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (400, "This model's maximum context length is 512 tokens", Reason.TOO_LONG),
        (413, "payload", Reason.TOO_LONG),
        (400, "At most 2 image(s) may be provided in one prompt.", Reason.TOO_MANY_MEDIA),
        (422, "cannot identify image file", Reason.ENGINE_REFUSED),
    ],
)
def test_a_refusal_is_not_asked_again(ask, endpoint, status, message, reason):
    endpoint.faults = NO_FAULTS | {"share": 1, "times": 99, "status": status, "message": message}
    (result,) = ask(Generate(question()))
    assert result == Failure(reason, f"the server refused the request ({status}): {message}")
    assert endpoint.questions.total() == 1


def test_bad_requests_fail_alone_before_they_are_sent(ask, endpoint, media_store):
    good = Generate(question())
    bad = [
        (Generate((messages.user("  "),)), Reason.EMPTY_PROMPT),
        (Generate((messages.user("\ud800"),)), Reason.ENGINE_REFUSED),
        (Generate((messages.user(Part("image", media="0" * 64)),)), Reason.MISSING_FILE),
        (Generate((messages.user(Part("image", media=media_store.add(b"no image"))),)), Reason.UNSUPPORTED_MEDIA),
        (Generate((messages.user(Part("video", media=media_store.add(mp4()))),)), Reason.UNSUPPORTED_MEDIA),
    ]
    *failed, answered = ask(*(request for request, _ in bad), good, media=("image",))
    assert [f.reason for f in failed] == [reason for _, reason in bad]
    assert isinstance(answered, Generated)
    assert endpoint.questions.total() == 1


# the server itself, and the key


def test_no_server_is_an_engine_error_that_names_the_mend(media_store):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(EngineError, match=rf"no server answers at {url} .*; start it or correct base_url"):
        asyncio.run(openai.connect(openai.Settings(base_url=url, model="m"), media_store))


def test_a_server_that_goes_away_ends_the_run_instead_of_failing_every_row(media_store, soon):
    async def run():
        with served(Endpoint()) as url:
            engine = await openai.connect(openai.Settings(base_url=url, model="m", retries=2), media_store)
        try:
            await engine.ask(Generate(question()))
        finally:
            await engine.close()

    with pytest.raises(EngineError, match="no server answers"):
        asyncio.run(run())


def test_a_model_that_the_server_does_not_have_is_an_engine_error(ask, endpoint):
    endpoint.faults = NO_FAULTS | {"share": 1, "status": 404, "message": "The model `scripted` does not exist."}
    with pytest.raises(EngineError, match=r"answered 404: The model `scripted` does not exist\.; check base_url and"):
        ask(Generate(question()))


def test_the_key_comes_from_the_environment_and_never_shows(ask, endpoint, monkeypatch):
    endpoint.key = KEY
    monkeypatch.setenv("PAIRWRIGHT_TEST_KEY", KEY)
    assert isinstance(ask(Generate(question()), api_key_env="PAIRWRIGHT_TEST_KEY")[0], Generated)
    endpoint.faults = NO_FAULTS | {"share": 1, "times": 99, "status": 400, "message": f"bad request by {KEY}"}
    (refused,) = ask(Generate(question()), api_key_env="PAIRWRIGHT_TEST_KEY")
    assert refused.detail == "the server refused the request (400): bad request by ***"
    endpoint.key = "another"  # the server repeats what it was given
    with pytest.raises(EngineError) as raised:
        ask(Generate(question()), api_key_env="PAIRWRIGHT_TEST_KEY")
    assert "answered 401: Incorrect API key provided: ***; check the key in PAIRWRIGHT_TEST_KEY" in str(raised.value)


def test_a_key_that_is_not_set_or_not_given_is_said_before_any_question(ask, endpoint, monkeypatch):
    monkeypatch.delenv("PAIRWRIGHT_TEST_KEY", raising=False)
    with pytest.raises(RecipeError, match="PAIRWRIGHT_TEST_KEY, which is not set"):
        ask(Generate(question()), api_key_env="PAIRWRIGHT_TEST_KEY")
    endpoint.key = KEY
    with pytest.raises(EngineError, match="set api_key_env"):
        ask(Generate(question()))


@pytest.mark.parametrize("key", ["k\u00e9y", "ke\x01y", "first\nsecond"])
def test_a_key_that_no_header_can_hold_is_said_and_not_shown(ask, monkeypatch, key):
    monkeypatch.setenv("PAIRWRIGHT_TEST_KEY", key)
    with pytest.raises(
        RecipeError, match="the key in PAIRWRIGHT_TEST_KEY contains a character that is not allowed in a header"
    ) as raised:
        ask(Generate(question()), api_key_env="PAIRWRIGHT_TEST_KEY")
    assert key not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://a b/v1", "http://[::1/v1", "http://host:99999/v1", "http:///v1", "ftp://host/v1", ""]
)
def test_an_address_is_one_that_can_be_asked(url):
    with pytest.raises(ValidationError, match="base_url"):
        openai.Settings(base_url=url, model="m")


@pytest.mark.parametrize("url", ["https://me:secret@host/v1", "https://host/v1?key=secret", "host:8000/v1"])
def test_an_address_holds_no_credentials(url):
    with pytest.raises(ValidationError, match="base_url must"):
        openai.Settings(base_url=url, model="m")


def test_the_identity_is_the_model_and_its_revision_wherever_it_is_served():
    one, two = (openai.Settings(base_url=f"http://{host}/v1", model="m", revision="r1") for host in ("a", "b"))
    assert openai.identity_of(one) == openai.identity_of(two) == "m@r1"


@pytest.mark.parametrize("named", [{}, {"base_url": "http://a/v1", "endpoints": [{"base_url": "http://b/v1"}]}])
def test_a_model_has_one_address_or_several_endpoints(named):
    with pytest.raises(ValidationError, match="set either base_url or endpoints"):
        openai.Settings(model="m", **named)
