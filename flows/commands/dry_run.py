"""Stand-ins for models when a recipe is tried without asking any: cached answers are looked up, others are simulated.

Operators send their real requests, so no second description of what a run requests is needed. A simulated answer has the expected length, the
requested form or the layout of the operator's own `example`, and the words of cached answers to requests of the same kind, else of
references, else arbitrary ones."""

import dataclasses
import hashlib
import json
import math
import random
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from flows.planning.bind import Bound, BoundRecipe, Operator
from flows.planning.registry import engine_of
from flows.runs.engine_host import EngineHost
from flows.runs.model_source import Identities, RunModel
from pipeline.media.portable import known_id
from pipeline.modeling.checkpoint import folder_with, identity
from pipeline.modeling.request_media import media_of_request
from pipeline.modeling.token_count import FILES, Counter
from pipeline.storage.answer_cache import AnswerCache, Measured, RequestKind, Usage, media_count, request_key
from schemas.errors import EngineError, RowError
from schemas.messages import question_of, text_of
from schemas.ports import MediaStore
from schemas.records import Message, Sample, media_parts
from schemas.requests import (
    Answer,
    Attend,
    Attended,
    Beams,
    Embed,
    Embedded,
    Failure,
    Form,
    Generate,
    Generated,
    Likelihood,
    Likely,
    Perturb,
    Perturbed,
    Rate,
    Rated,
    Request,
    Result,
    Score,
    Scored,
    Success,
)

LOCAL = ("vllm", "hf")  # engines whose `model` is a folder or a name on the Hub, with a tokenizer
QUARTER = 4  # without measurements an answer is a quarter of max_tokens long
PLAIN = 0.75  # words per token in English
KEPT = 500  # texts per kind from which others are simulated
WORDS = (
    "the",
    "picture",
    "shows",
    "a",
    "small",
    "red",
    "thing",
    "beside",
    "another",
    "and",
    "two",
    "more",
    "of",
    "them",
)
Example = Callable[[str, str, float], str]
"""(prompt, words, a number in [0, 1) to choose by) -> a reply that the operator can parse"""


class Model(NamedTuple):
    """A model of the recipe, as far as it is known without loading it."""

    identity: str
    like: str  # identity of the model whose measurements apply: its own, or that of the model it will be trained from
    can: frozenset[str]
    media: frozenset[str]
    slots: int
    counter: Counter


class Observations:
    """What is learnt during a dry run: from cached answers and from earlier measurements."""

    def __init__(self, measured: dict[RequestKind, Measured], examples: Mapping[str, Example] | None = None):
        """`examples`: by step name, a function that simulates replies; for other steps replies are free text."""
        self.measured, self.examples = measured, examples or {}
        self.texts: defaultdict[RequestKind, list[str]] = defaultdict(list)
        self.references: defaultdict[str, list[str]] = defaultdict(list)  # by the text of the prompt
        self.own: dict[tuple[Message, ...], str] = {}  # by the whole prompt
        self.media: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)  # (model, kind) -> tokens, number of media
        self.found = 0  # cached answers
        self.made: dict[bytes, Success] = {}  # simulated answers by request key
        self.unmeasured: set[str] = set()  # models with requests of unknown rate
        self.guessed: set[str] = set()  # models with answers of unknown length

    def forget(self) -> None:
        """Forgets simulated answers, so that they are simulated again with what was learnt."""
        self.made.clear()
        self.found = 0
        self.unmeasured.clear()
        self.guessed.clear()

    def sample(self, row: Sample) -> None:
        """Remembers the reference of a sample that will be asked about."""
        if row.reference:
            self.own[row.prompt] = row.reference
            known = self.references[question_of(row.prompt)]
            if len(known) < KEPT:
                known.append(row.reference)

    def learn(self, model: Model, request: Request, found: Success) -> None:
        """Learns from a cached answer."""
        self.found += 1
        if isinstance(found, Generated):
            known = self.texts[RequestKind.of(model.like, request)]
            if len(known) < KEPT:
                known += [answer.text for answer in found.answers]
        kinds = _kinds(request)
        if len(set(kinds)) == 1 and found.prompt_tokens:
            more = found.prompt_tokens - prompt_tokens(model, request)
            self.media[model.like, kinds[0]].update(tokens=more, media=len(kinds))

    def media_tokens(self, model: Model, kind: str) -> float:
        """Tokens per media item of this kind, beyond its placeholder; 0 if no cached answer tells."""
        seen = self.media[model.like, kind]
        return max(0.0, seen["tokens"] / seen["media"]) if seen["media"] else 0.0

    def rate(self, sort: RequestKind) -> Measured | None:
        """Measurements of requests of this kind; else of the model at any temperature, else at any max_tokens."""
        for alike in (len(sort), 3, 2):
            if found := [m for s, m in self.measured.items() if s[:alike] == sort[:alike]]:
                return Measured(*(sum(getattr(m, f.name) for m in found) for f in dataclasses.fields(Measured)))
        return None

    def length(self, sort: RequestKind) -> float:
        """Expected tokens of an answer."""
        rate = self.rate(sort)
        if rate is None or not rate.answers:
            self.guessed.add(sort.model)
            return max(1.0, sort.most / QUARTER)
        return min(float(sort.most), rate.answer_tokens / rate.answers)


class SimulatedEngine:
    """An Engine that simulates answers. It supports every form, so that operators can parse them."""

    def __init__(self, model: Model, store: MediaStore | None, known: Observations, sends_files: bool = False):
        """`store` may be None if no request shows or makes media. `sends_files`: as the model's engine."""
        self.sends_files = sends_files
        self.identity, self.media, self.slots, self.counter = model.identity, model.media, model.slots, model.counter
        self.can = model.can | {"Form"}
        self.model, self.store, self.known = model, store, known

    async def ask(self, request: Request) -> Result:
        return self.simulated(request)

    def simulated(self, request: Request, example: Example | None = None) -> Result:
        """An answer; `example` writes it if the step's replies have a layout."""
        try:
            return simulate(self, request, example)
        except RowError as error:
            return Failure(error.reason, error.detail)

    async def close(self) -> None:
        pass


class CachedSimulatedEngine:
    """An Engine in front of SimulatedEngine: cached answers, and those simulated before, are looked up. Usage is counted as if all were asked."""

    def __init__(self, engine: SimulatedEngine, cache: AnswerCache, usage: Usage, step: str):
        self.identity, self.can, self.media, self.slots = engine.identity, engine.can, engine.media, engine.slots
        self._engine, self._cache, self._usage, self._example = engine, cache, usage, engine.known.examples.get(step)

    async def ask(self, request: Request) -> Any:  # a Result of the request's own type, as the port's overloads say
        engine, known = self._engine, self._engine.known
        sent = await self._cache.sent(request) if engine.sends_files else request
        key = request_key(engine.identity, sent)
        found = self._cache.get(key)
        if found is None and isinstance(sent, Generate) and sent.form:  # the real engine may not support forms
            found = self._cache.get(request_key(engine.identity, sent._replace(form=None)))
        if found is not None:
            known.learn(engine.model, request, found)
        elif (found := known.made.get(key)) is None:
            return self._simulate(key, request)
        self._usage.count_cached(found)
        return found

    def _simulate(self, key: bytes, request: Request) -> Result:
        engine, known = self._engine, self._engine.known
        made = engine.simulated(request, self._example)
        seconds = 0.0
        if not isinstance(made, Failure):
            known.made[key] = made
            rate = known.rate(RequestKind.of(engine.model.like, request))
            if rate is None:
                known.unmeasured.add(engine.model.like)
            seconds = rate.seconds / rate.requests if rate else 0.0
        self._usage.count_asked(request, made, seconds)
        return made

    async def close(self) -> None:
        await self._engine.close()


class ReadOnlyAnswers:
    """The answer cache, read only: nothing is added, and simulated answers are not measured."""

    def __init__(self, path: Path, media: MediaStore):
        """StoreError if the file cannot be opened or created."""
        self._cache = AnswerCache(path, portable=partial(known_id, media))

    @property
    def damaged(self) -> set[bytes]:
        return self._cache.damaged

    def engine(
        self, engine: SimulatedEngine, usage: Usage, unanswered: set[bytes] | None = None, step: str = ""
    ) -> CachedSimulatedEngine:
        return CachedSimulatedEngine(engine, self._cache, usage, step)

    async def settle(self) -> None:
        """Does nothing: no server is asked, so none can fail."""

    def commit(self) -> None:
        """Does nothing: there is nothing new."""

    def close(self) -> None:
        self._cache.close()


class SimulatedEngines:
    """The ModelSource of a run in which no model is loaded."""

    def __init__(self, recipe: BoundRecipe, folder: Path, known: Observations, trained: Path | None = None):
        """`folder` of the run; `trained`: folder of the real run, which may hold models it has trained."""
        self.known, self.loaded = known, dict[tuple[str, int], Model]()
        self._recipe, self._folder, self._trained, self._identities = recipe, folder, trained, Identities()

    def trained(self, folder: Path) -> Path:
        return self._trained / folder.relative_to(self._folder) if self._trained else folder

    def identity(self, model: RunModel) -> str:
        """The identity of a model. A model still to be trained gets a name that no cached answer has."""
        place = Path(model.spec.get("model", ""))
        if (model.name not in self._recipe.models or model.round > 1) and place.is_absolute() and not place.exists():
            return f"{model.name} of round {model.round}, still to be trained"
        return self._identities.of(model)

    async def connect(self, models: Sequence[RunModel], host: EngineHost) -> dict[str, SimulatedEngine]:
        sends = {m.name: getattr(engine_of(m.spec, m.name)[0], "SENDS_FILES", False) for m in models}
        return {m.name: SimulatedEngine(self._model(m), host.media, self.known, sends[m.name]) for m in models}

    def answers(self, path: Path, host: EngineHost) -> ReadOnlyAnswers:
        return ReadOnlyAnswers(path, host.media)

    def _model(self, wanted: RunModel) -> Model:
        where = wanted.name, wanted.round
        if where not in self.loaded:
            module, settings = engine_of(wanted.spec, wanted.name)
            can, media = module.capabilities(settings)
            root = self._root(wanted.name)
            named = like = self.identity(wanted)
            if not any(sort.model == named for sort in self.known.measured):
                like = self.identity(root)
            self.loaded[where] = Model(named, like, can, media, settings.slots, _counter(root.spec))
        return self.loaded[where]

    def _root(self, name: str) -> RunModel:
        """The model of the recipe that this model is, or will be trained from."""
        while name in self._recipe.trained:
            name = self._recipe.trained[name]
        return RunModel(name, 1, self._recipe.models[name])


def _counter(spec: dict[str, Any]) -> Counter:
    if spec["engine"] not in LOCAL:
        return Counter(None)
    try:
        _, revision = identity(spec["model"], spec.get("revision"))
    except EngineError:
        return Counter(None)
    return Counter(folder_with(FILES, spec["model"], revision))


def examples(steps: Iterable[Bound]) -> dict[str, Example]:
    """Step name -> the `example` of its operator, or of the part that asks, if its replies have a layout."""
    return {step.name: made for step in steps if (made := example_of(step))}


def example_of(operator: Operator) -> Example | None:
    """An operator's `example`, or that of the first of its parts that has one."""
    if write := getattr(operator.module, "example", None):
        return lambda asked, text, draw: write(asked, operator.settings, text, draw)
    return next(filter(None, (example_of(part.operator) for part in operator.parts)), None)


def prompt_tokens(model: Model, request: Request) -> int:
    """Tokens of the texts of a request, with a placeholder for each media item."""
    if isinstance(request, Perturb):
        return 0
    if isinstance(request, Likelihood):
        return model.counter.prompt(request.messages[:-1])
    return model.counter.prompt(request.messages)


def _kinds(request: Request) -> list[str]:
    return [] if isinstance(request, Perturb) else [p.type for p in media_parts(request.messages)]


def simulate(engine: SimulatedEngine, request: Request, example: Example | None = None) -> Success:
    """A simulated answer to the request. RowError if the engine would refuse the request without loading anything."""
    known = engine.known
    if isinstance(request, Perturb):
        assert engine.store is not None, "tests may leave it out, but then perturb nothing"
        return Perturbed(
            engine.store.add(engine.store.read(request.media) + b"\0")
        )  # a different file that decodes alike
    media_of_request(request.messages, engine.media, engine.identity)
    more = sum(known.media_tokens(engine.model, kind) for kind in _kinds(request))
    prompt = prompt_tokens(engine.model, request) + round(more)
    match request:
        case Generate() | Beams():
            return Generated(tuple(_answers(engine, request, known, example)), prompt)
        case Score():
            weights = [
                1 - _unit(request, choice) for choice in request.choices
            ]  # the judge says nothing but its choices
            return Scored(tuple(math.log(weight / math.fsum(weights)) for weight in weights), prompt)
        case Likelihood():
            count = engine.counter.text(text_of(request.messages[-1:]))
            return Likely(tuple(-3 * _unit(request, str(i)) for i in range(count)), prompt)
        case Rate():
            return Rated(round(_unit(request, "rate"), 4), prompt)
        case Embed():
            return Embedded((2**-0.5, 2**-0.5), prompt)
        case Attend():
            return Attended((1 / max(1, media_count(request)),) * media_count(request), prompt)


def _answers(engine: SimulatedEngine, request: Generate | Beams, known: Observations, example: Example | None):
    sort = RequestKind.of(engine.model.like, request)
    length = known.length(sort)
    count = request.n if isinstance(request, Generate) else request.beams
    form = request.form if isinstance(request, Generate) else None
    logprobs = isinstance(request, Generate) and request.logprobs
    for i in range(count):
        seed = f"{getattr(request, 'seed', 0)}/{i}"
        draw = _unit(request, seed)
        words = round(length * PLAIN) or 1
        if form and not (form.regex and example):
            text = _formed(form, draw)
        elif example:
            text = example(question_of(request.messages), _words(words, draw), draw)
        else:
            text = _text(request, known, sort, words, i, draw)
        tokens = min(request.max_tokens, int(length + draw))  # so that the mean is the expected length
        each = (-1.0,) * tokens if logprobs else None
        yield Answer(text, tokens, "stop", -float(tokens), each)


def _text(
    request: Generate | Beams, known: Observations, sort: RequestKind, words: int, index: int, draw: float
) -> str:
    """A cached text, else a reference, else arbitrary words."""
    if texts := known.texts[sort]:
        return texts[int(draw * len(texts))]
    if index == 0 and request.messages in known.own:
        return known.own[request.messages]
    if other := known.references.get(question_of(request.messages)):
        return other[int(draw * len(other))]
    return _words(words, draw)


def _words(count: int, draw: float) -> str:
    return " ".join(random.Random(draw).choices(WORDS, k=count)) + "."


def _formed(form: Form, draw: float) -> str:
    """An answer in the form; for a regular expression, unless the operator has an `example`, arbitrary words, which will not parse."""
    if form.choice:
        return form.choice[int(draw * len(form.choice))]
    return json.dumps(instance(json.loads(form.schema), draw)) if form.schema else _words(3, draw)


def instance(schema: dict, draw: float) -> Any:
    """A value that a plain JSON Schema allows: an enum, a range, an object or a list of these, as short as possible. Integers in a list
    cycle through their range, so that a full list is a permutation: a ranking."""
    if "const" in schema or "enum" in schema:
        options = schema.get("enum") or [schema["const"]]
        return options[int(draw * len(options))]
    kind = schema.get("type")
    if kind == "object":
        return {k: instance(v, draw * (i + 7) % 1) for i, (k, v) in enumerate(schema.get("properties", {}).items())}
    if kind == "array":
        item, count = schema.get("items", {}), schema.get("minItems", 0)
        if item.get("type") == "integer":
            low, size = item.get("minimum", 0), item.get("maximum", 10) - item.get("minimum", 0) + 1
            return [low + (i + int(draw * size)) % size for i in range(count)]
        return [instance(item, draw * (i + 7) % 1) for i in range(count)]
    if kind in ("integer", "number"):
        low = schema.get("minimum", 0)
        return low + int(draw * (schema.get("maximum", low + 10) - low + 1))
    return draw < 0.5 if kind == "boolean" else _words(3, draw)


def _unit(request: Request, salt: str) -> float:
    """A number in [0, 1) derived from the request."""
    key = hashlib.blake2b(repr((request, salt)).encode(), digest_size=8).digest()
    return int.from_bytes(key, "big") / 2**64
