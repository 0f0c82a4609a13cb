"""A scripted server of chat completions on loopback: what the tests of everything but the engines ask.

    python -m tests.support.endpoint --port 0        prints its port, answers until it is stopped

Answers depend on nothing but the request. A prompt that asks for JSON "ratings" gets one rating for each answer in it
(a line that begins with "Answer A", "[Response 2]" or the like), one that ends with "Facts:" or "Questions:" a list (see
`listed`), one that asks for JSON "question" or "objects" such JSON (see `written`), one that asks for a "ranking", for "faults" or for a verdict in
double square brackets such a verdict (see `judged`), a request for log-probabilities gets `yes` and `no`, or `one`, `two` and `tie` where two
answers stand in it, every other one a short sentence. A word is a token.

GET /stats: {"asked": all, "answered": with 200, "questions": {digest of the body: times asked}}.
POST /faults sets what goes wrong; what is left out is as in NO_FAULTS.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from aiohttp import web

NO_FAULTS = {
    "share": 0.0,  # of the questions that fail, chosen by their digest
    "times": 1,  # how often a chosen question fails before it is answered
    "kind": "status",  # status, garbage, hang, drop, or mixed: each question has its own of these, a 429 among them
    "status": 500,
    "retry_after": None,  # seconds, or a date
    "message": "scripted fault",
    "delay": 0.0,  # seconds before every answer
    "delays": None,  # an iterator of such seconds instead
    "poison": None,  # a word in a question that fails each time
    "most": None,  # requests at a time: one more is answered with 429
}
MIXED = (("status", 500), ("status", 429), ("garbage", 200), ("hang", 200), ("drop", 200))
WORDS = ("red", "blue", "green", "small", "large", "round", "square", "circle", "star", "cup", "dog", "near", "above")


class Endpoint:
    """The server's state and its three routes."""

    def __init__(
        self, key: str | None = None, twist: Callable[[dict, dict], web.Response | dict] | None = None, **faults
    ):
        """`twist` makes of a request's body and the answer to it what is said instead; a response of its own does not count as an answer."""
        self.key, self.twist = key, twist
        self.faults = NO_FAULTS | faults
        self.questions: Counter[str] = Counter()
        self.answered = self.in_flight = self.peak = self.refused = 0
        self.mixed: Counter[tuple[str, int]] = Counter()
        self.bodies: list[dict] = []
        self.keep_bodies = False

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes([
            web.get("/v1/models", self.models), web.post("/v1/chat/completions", self.chat),
            web.get("/stats", self.stats), web.post("/faults", self.set_faults),
        ])  # fmt: skip
        return app

    async def models(self, request: web.Request) -> web.Response:
        models = {"object": "list", "data": [{"id": "scripted", "object": "model"}]}
        return self._locked(request) or web.json_response(models)

    async def stats(self, _) -> web.Response:
        asked = self.questions.total()
        return web.json_response({"asked": asked, "answered": self.answered, "questions": self.questions})

    async def set_faults(self, request: web.Request) -> web.Response:
        self.faults = NO_FAULTS | await request.json()
        return web.json_response(self.faults)

    async def chat(self, request: web.Request) -> web.Response:
        if self.faults["most"] is not None and self.in_flight >= self.faults["most"]:
            self.refused += 1
            return web.json_response({"error": {"message": "too many requests"}}, status=429)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            return await self._chat(request)
        finally:
            self.in_flight -= 1

    async def _chat(self, request: web.Request) -> web.Response:
        raw = await request.read()
        name = hashlib.sha256(raw).hexdigest()[:16]
        self.questions[name] += 1
        if locked := self._locked(request):
            return locked
        body = json.loads(raw)
        if self.keep_bodies:
            self.bodies.append(body)
        if delay := next(self.faults["delays"] or iter(()), self.faults["delay"]):
            await asyncio.sleep(delay)
        if self.faults["poison"] and self.faults["poison"].encode() in raw:
            return await self._fault(request, 0)
        chosen = int(name, 16) / 2**64 < self.faults["share"]
        if chosen and self.questions[name] <= self.faults["times"]:
            return await self._fault(request, int(name, 16))
        said = reply(body)
        if self.twist:
            said = self.twist(body, said)
        if isinstance(said, web.Response):
            return said
        self.answered += 1
        return web.json_response(said)

    async def _fault(self, request: web.Request, number: int) -> web.Response:
        kind, status = self.faults["kind"], self.faults["status"]
        if kind == "mixed":
            kind, status = MIXED[number % len(MIXED)]
            self.mixed[kind, status] += 1
        if kind == "garbage":
            return web.Response(text='{"choices": [{"ind', content_type="application/json")
        if kind == "hang":
            await asyncio.sleep(3600)
        if kind == "drop":
            request.transport.abort()
        wait = self.faults["retry_after"]
        headers = {} if wait is None else {"Retry-After": str(wait)}
        error = {"error": {"message": self.faults["message"], "code": status}}
        return web.json_response(error, status=status, headers=headers)

    def _locked(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.key is None or given == self.key:
            return None
        return web.json_response({"error": {"message": f"Incorrect API key provided: {given}"}}, status=401)


def reply(body: dict) -> dict:
    """The answer to a chat request."""
    text = f"{body['model']}\n{shown_text(body['messages'])}"
    if body.get("top_logprobs"):
        choices = [{"message": {"role": "assistant", "content": "yes"}, "logprobs": {"content": [first_token(text)]}}]
    else:
        seeds = [str(body.get("seed", 0) + i) for i in range(body.get("n", 1))]
        form = body.get("response_format", {}).get("json_schema", {}).get("schema")
        answers = [json.dumps(formed(form, text, seed)) if form else answer(text, seed) for seed in seeds]
        choices = [{"message": {"role": "assistant", "content": a}, "logprobs": None} for a in answers]
    most = body.get("max_tokens", body.get("max_completion_tokens"))
    for index, choice in enumerate(choices):
        said = choice["message"]["content"]
        choice["message"]["content"] = kept = re.match(rf"(\s*\S+){{0,{most}}}", said)[0]
        choice |= {"index": index, "finish_reason": "stop" if kept == said else "length"}
        if body.get("logprobs") and not choice["logprobs"]:
            choice["logprobs"] = {"content": [{"token": w, "logprob": -unit(w)} for w in kept.split()]}
    written = sum(len(c["message"]["content"].split()) for c in choices)
    usage = {"prompt_tokens": len(text.split()), "completion_tokens": written}
    return {"id": "scripted", "object": "chat.completion", "model": body["model"], "choices": choices, "usage": usage}


def shown_text(messages: list[dict]) -> str:
    """All texts of a chat, and a name for each media, so that another picture gets another answer."""
    out = []
    for message in messages:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            text = part.get("text")
            out.append(hashlib.sha256(json.dumps(part).encode()).hexdigest() if text is None else text)
    return "\n".join(out)


def unit(*parts: str) -> float:
    """A number in [0, 1) named by `parts`."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big") / 2**64


def answer(text: str, seed: str) -> str:
    axes = re.findall(r'"(\w+)": \[one whole number', text)
    if axes and axes != ["ratings"]:
        fenced = answers_in(text)
        said = {axis: [1 + int(5 * unit(seed, axis, a)) for a in fenced] for axis in axes}
        return json.dumps(({"rationale": "as it looks"} if '"rationale"' in text else {}) | said)
    if "ratings" in text:
        count = len(re.findall(r"(?m)^\W*(?:answer|response|candidate)\W*\w+", text, re.IGNORECASE)) or 1
        return json.dumps({"ratings": [1 + int(5 * unit(text, seed, str(i))) for i in range(count)]})
    if "double square brackets" in text or '{"ranking"' in text or '{"faults"' in text:
        return judged(text, seed)
    if "between <<< and >>>" in " ".join(text.split()):
        return rewritten(text, seed)
    if text.endswith(("Facts:", "Questions:")):
        return listed(text)
    if '{"question"' in text or '{"context"' in text:
        return written(text, seed)
    if '{"objects"' in text:
        return json.dumps({"objects": int(10 * unit(text, "objects")), "writing": int(100 * unit(text, "writing"))})
    length = 4 + int(8 * unit(text, seed))
    return " ".join(WORDS[int(len(WORDS) * unit(text, seed, str(i)))] for i in range(length)) + "."


def formed(schema: dict, text: str, seed: str):
    """JSON of the schema: the properties of an object, one of an enum, a number in its range, a word that has its pattern."""
    if schema.get("type") == "object":
        return {name: formed(inner, text, f"{seed}.{name}") for name, inner in schema["properties"].items()}
    if schema.get("type") == "integer":
        return schema["minimum"] + int((schema["maximum"] + 1 - schema["minimum"]) * unit(text, seed))
    of = schema.get("enum") or [w for w in WORDS if re.search(schema["pattern"], w)]
    return of[int(len(of) * unit(text, seed))]


def written(text: str, seed: str) -> str:
    """A question with two answers, in a fence; one in eight says nothing that can be read."""
    if unit(text, seed, "mood") < 0.125:
        return "I would rather not."
    words = [WORDS[int(len(WORDS) * unit(text, seed, word))] for word in ("question", "right")]
    said = {"question": f"Is the {words[0]} {words[1]} ?", "right": f"yes, {words[1]}", "wrong": "no, it is not"}
    if '{"context"' in text:
        said = {"context": f"There is a {words[0]} {words[1]} in it."}
    return f"Sure:\n```json\n{json.dumps(said)}\n```"


def answers_in(text: str) -> list[str]:
    """The fenced answers of a question to a judge."""
    return re.findall(r"(?m)^Answer(?: \w+)?:\n<<<\n((?:(?!<<<|>>>)[\s\S])*)\n>>>", text)


def merit(answer: str) -> float:
    """How good a judge finds an answer, whatever its place, its length and what it asks for."""
    return unit(answer, "merit")


def judged(text: str, seed: str) -> str:
    """A verdict by `merit`; one in eight says nothing that can be read, one in sixteen refuses, each until it is asked with another seed."""
    mood = unit(text, seed, "mood")
    if mood < 0.125:
        return "Both have something."
    if mood < 0.1875:
        return "I'm sorry, but I can't judge this."
    fenced = answers_in(text)
    if '{"ranking"' in text:
        order = sorted(range(len(fenced)), key=lambda i: -merit(fenced[i]))
        return f"By what is shown:\n{' > '.join(str(i + 1) for i in order)}"
    if '{"faults"' in text:
        kinds = re.search(r'"class": one of (.*?), "severity"', text)[1].split(", ")
        words = fenced[0].split()
        wrong = [words[-1]] if words and merit(fenced[0]) < 0.5 else []
        return json.dumps({"faults": [
            {"text": word, "class": kinds[int(len(kinds) * unit(word))], "severity": 1 + int(3 * unit(word)), "correction": "a hat"} for word in wrong
        ]})  # fmt: skip
    first, second = map(merit, fenced)
    if "much better" in text:
        return f'It says "[[1]]" somewhere. So: [[{4 - round(3 * (first - second))}]]'
    return f'Answer two says "[[2]]". So: [[{1 if first > second else 2}]]'


def rewritten(text: str, seed: str) -> str:
    """The fenced answer with another last word, in a fence; one in eight forgets the fence, one in eight changes nothing."""
    *_, old = re.findall(r"<<<\n(.*?)\n>>>", text, re.DOTALL)  # turns of a conversation stand before it
    mood = unit(text, seed, "mood")
    if mood < 0.125:
        return "I would rather not."
    words = old.split()
    last = "[MASK]" if "Replace every object" in text else WORDS[int(len(WORDS) * unit(text, seed, "last"))]
    new = " ".join([*words[:-1], last])
    return f"Here it is:\n<<<\n{old if mood < 0.25 else new}\n>>>"


def listed(text: str) -> str:
    """What a splitter says of the text between the marks: every three words are a fact, every fact a question.

    The first word decides what goes wrong: of "dog ..." it lists nothing, "star ..." states no fact, and of "cup ..." it
    forgets a question."""
    fenced = re.findall(r"<<<\n(.*?)\n>>>", text, re.DOTALL)[-1]
    if text.endswith("Questions:"):
        questions = [f"- is it true that {fact.removeprefix('- ')} ?" for fact in fenced.splitlines()]
        return "\n".join(questions[1:] if fenced.startswith("- cup") else questions)
    words = fenced.strip(".").split()
    if words[0] == "dog":
        return "I cannot help with that."
    if words[0] == "star":
        return "- none"
    return "\n".join("- " + " ".join(words[i : i + 3]) for i in range(0, len(words), 3))


def first_token(text: str) -> dict:
    """yes with a probability of .05 to .95, no with 97 % of the rest, and two tokens more."""
    if len(fenced := answers_in(text)) == 2:
        return compared(*map(merit, fenced))
    yes = 0.05 + 0.9 * unit(text, "yes")
    rest = 1 - yes
    tokens = {"yes": yes, "no": 0.97 * rest, " Yes": 0.02 * rest, "maybe": 0.01 * rest}
    top = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in tokens.items()]
    return {"token": "yes", "logprob": math.log(yes), "bytes": None, "top_logprobs": top}


def compared(first: float, second: float) -> dict:
    """one, two and tie: a tenth for the tie, of the rest `one` its share by merit."""
    one = 0.9 * first / (first + second)
    tokens = {"one": one, "Two": 0.9 - one, "tie": 0.1}
    top = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in tokens.items()]
    return {"token": "one", "logprob": math.log(one), "bytes": None, "top_logprobs": top}


async def start(endpoint: Endpoint, port: int = 0) -> tuple[web.AppRunner, int]:
    """Serves on loopback; `(runner, port)`, and `await runner.cleanup()` ends it."""
    runner = web.AppRunner(endpoint.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return runner, runner.addresses[0][1]


@contextlib.contextmanager
def served(endpoint: Endpoint, port: int = 0) -> Iterator[str]:
    """An endpoint on a thread of its own, for callers with a loop of their own or none; gives its base_url."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner, port = asyncio.run_coroutine_threadsafe(start(endpoint, port), loop).result()
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def serve(port: int) -> None:
    _, port = await start(Endpoint(), port)
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="a scripted server of chat completions")
    arguments.add_argument("--port", type=int, default=0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments.parse_args().port))
