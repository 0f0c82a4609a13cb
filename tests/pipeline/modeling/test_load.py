import pytest

from pipeline.modeling.load import load
from schemas.errors import TrainError


def test_a_library_that_says_nothing_is_named_by_the_class_of_its_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ValueError

    monkeypatch.setattr("pipeline.modeling.load.AutoConfig.from_pretrained", refuse)
    with pytest.raises(TrainError, match=r"cannot load .*: ValueError$"):
        load(str(tmp_path))
