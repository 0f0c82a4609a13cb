"""Which engines a process keeps, and when it gives way to another; the engines here are counted, not loaded."""

import asyncio
from types import SimpleNamespace

import pytest

from flows.planning import registry
from flows.runs import engine_host
from flows.runs.memory_watchdog import RestartWorker
from pipeline.engines.local import device
from pipeline.storage.in_flight import Journal
from schemas.errors import EngineError
from schemas.operator import OperatorSettings as Base
from schemas.records import MEDIA_KINDS


class Settings(Base):
    model: str
    share: float
    """of the machine's memory"""


class Engine:
    slots, can, media = 1, frozenset({"Generate"}), frozenset({"image"})
    closed = 0

    async def ask(self, request):
        return request

    async def close(self):
        Engine.closed += 1


@pytest.fixture
def engines(monkeypatch, tmp_path):
    """A host whose models take the shares that their specs say."""

    async def connect(settings, media, longest):
        if settings.model == "broken":
            raise EngineError("vLLM cannot load broken")
        return Engine()

    module = SimpleNamespace(
        __name__="counted", Settings=Settings, identity_of=str, capabilities=str, connect=connect, share=lambda settings: settings.share,
        features=lambda settings: (frozenset({"Generate"}), frozenset(MEDIA_KINDS), 3),
    )  # fmt: skip
    monkeypatch.setattr(registry, "engine", lambda name: module)
    monkeypatch.setattr(device, "has_gpu", lambda: False)
    assert device.MOST_OF_MACHINE == 0.5
    with engine_host.EngineHost(tmp_path, Journal(tmp_path / "in_flight")) as here:
        yield here


def spec(model: str, share: float) -> tuple[dict, str]:
    return {"engine": "counted", "model": model, "share": share}, f"{model}@1"


def loaded(engines, wanted: dict) -> dict:
    """The engines of some models, each of which is asked something."""
    found = engines.run(engines.connect(wanted))
    for engine in found.values():
        engines.run(engine.load())
    return found


def test_what_is_here_is_not_loaded_again(engines):
    first = loaded(engines, {"a": spec("a", 0.2), "same": spec("a", 0.2)})
    again = loaded(engines, {"a": spec("a", 0.2), "b": spec("b", 0.3)})
    assert first["a"] is first["same"] is again["a"]
    assert dict(engines.loads) == {"a": 1, "b": 1}


def test_a_model_is_loaded_by_its_first_request_and_known_before(engines):
    said = []
    (engine,) = engines.run(engines.connect({"a": spec("a", 0.2)})).values()
    engine.loaded = lambda: said.append(engine.media)
    assert (engine.identity, engine.can, engine.media, engine.slots) == ("a@1", {"Generate"}, frozenset(MEDIA_KINDS), 3)
    assert not engines.loads

    async def several():
        return await asyncio.gather(*(engine.ask(number) for number in range(5)))

    assert engines.run(several()) == [0, 1, 2, 3, 4]
    assert dict(engines.loads) == {"a": 1}
    assert said == [frozenset({"image"})]  # what is known once it is loaded


def test_a_model_that_cannot_be_loaded_is_tried_once(engines):
    (engine,) = engines.run(engines.connect({"a": spec("broken", 0.2)})).values()

    async def several():
        return await asyncio.gather(*(engine.ask(number) for number in range(3)), return_exceptions=True)

    first, *others = engines.run(several())
    assert str(first) == "vLLM cannot load broken"
    assert all(error is first for error in others)


def test_a_model_that_nobody_asks_takes_no_memory(engines):
    """Every answer was cached: the next step's model fits."""
    engines.run(engines.connect({"a": spec("a", 0.3)}))
    loaded(engines, {"b": spec("b", 0.3)})
    with pytest.raises(RestartWorker, match=r"^a does not fit"):
        engines.run(engines.connect({"a": spec("a", 0.3)}))


def test_a_model_of_the_same_name_whose_weights_changed_is_another(engines):
    first = engines.run(engines.connect({"a": spec("a", 0.1)}))
    trained = engines.run(engines.connect({"a": (spec("a", 0.1)[0], "a@2")}))
    assert first["a"] is not trained["a"]


def test_a_model_that_does_not_fit_beside_those_of_steps_before_wants_another_process(engines):
    loaded(engines, {"a": spec("a", 0.3)})
    with pytest.raises(RestartWorker, match="b does not fit into memory together with the models of earlier steps"):
        engines.run(engines.connect({"b": spec("b", 0.21)}))
    assert dict(engines.loads) == {"a": 1}


def test_models_that_one_step_wants_are_loaded_whatever_they_take(engines):
    """In another process they would fit no better."""
    both = {"a": spec("a", 0.4), "b": spec("b", 0.4)}
    loaded(engines, {"a": spec("a", 0.4)})
    assert len(loaded(engines, both)) == 2
    assert dict(engines.loads) == {"a": 1, "b": 1}


def test_the_end_closes_the_engines(engines, tmp_path):
    before = Engine.closed
    with engine_host.EngineHost(tmp_path) as here:
        loaded(here, {"a": spec("a", 0.1)})
        here.run(here.connect({"b": spec("b", 0.1)}))
    assert Engine.closed == before + 1
