"""Which engines a process keeps, and when it gives way to another; the engines here are counted, not loaded."""

import asyncio
from types import SimpleNamespace

import pytest

from flows.planning import registry
from flows.runs import engine_host
from flows.runs.memory_watchdog import RestartWorker
from pipeline.engines.local import device
from pipeline.storage.in_flight import Journal
from schemas.operator import OperatorSettings as Base


class Settings(Base):
    model: str
    share: float
    """of the machine's memory"""


class Engine:
    slots = 1

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.closed = False

    async def close(self):
        self.closed = True


@pytest.fixture
def engines(monkeypatch, tmp_path):
    """A host whose models take the shares that their specs say."""

    async def connect(settings, media):
        return Engine()

    module = SimpleNamespace(Settings=Settings, connect=connect, share=lambda settings: settings.share)
    monkeypatch.setattr(registry, "engine", lambda name: module)
    monkeypatch.setattr(device, "has_gpu", lambda: False)
    assert device.MOST_OF_MACHINE == 0.5
    with engine_host.EngineHost(tmp_path, Journal(tmp_path / "in_flight")) as here:
        yield here


def spec(model: str, share: float) -> tuple[dict, str]:
    return {"engine": "counted", "model": model, "share": share}, f"{model}@1"


def test_what_is_here_is_not_loaded_again(engines):
    first = engines.run(engines.connect({"a": spec("a", 0.2), "same": spec("a", 0.2)}))
    again = engines.run(engines.connect({"a": spec("a", 0.2), "b": spec("b", 0.3)}))
    assert first["a"] is first["same"] is again["a"]
    assert again["b"].loop is first["a"].loop
    assert dict(engines.loads) == {"a": 1, "b": 1}


def test_a_model_of_the_same_name_whose_weights_changed_is_another(engines):
    first = engines.run(engines.connect({"a": spec("a", 0.1)}))
    trained = engines.run(engines.connect({"a": (spec("a", 0.1)[0], "a@2")}))
    assert first["a"] is not trained["a"]


def test_a_model_that_does_not_fit_beside_those_of_steps_before_wants_another_process(engines):
    engines.run(engines.connect({"a": spec("a", 0.3)}))
    with pytest.raises(RestartWorker, match="b does not fit into memory together with the models of earlier steps"):
        engines.run(engines.connect({"b": spec("b", 0.21)}))
    assert dict(engines.loads) == {"a": 1}


def test_models_that_one_step_wants_are_loaded_whatever_they_take(engines):
    """In another process they would fit no better."""
    both = {"a": spec("a", 0.4), "b": spec("b", 0.4)}
    engines.run(engines.connect({"a": spec("a", 0.4)}))
    assert len(engines.run(engines.connect(both))) == 2
    assert dict(engines.loads) == {"a": 1, "b": 1}


def test_the_end_closes_the_engines(engines, tmp_path):
    with engine_host.EngineHost(tmp_path) as here:
        engine = here.run(here.connect({"a": spec("a", 0.1)}))["a"]
    assert engine.closed
