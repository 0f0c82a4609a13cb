import pyarrow as pa

from schemas.arrow import word_counts
from schemas.text import word_count


def test_words_of_a_column_are_counted_as_those_of_a_text():
    texts = ["", " \n", "cup", " a  red\tcup\n", "a\u00a0red\u3000cup"]
    assert word_counts(pa.array(texts)).to_pylist() == [0, 0, 1, 3, 3]
    assert [word_count(text) for text in texts] == [0, 0, 1, 3, 3]


def test_a_text_that_is_not_there_has_no_count():
    assert word_counts(pa.array([None, "cup"], pa.string())).to_pylist() == [None, 1]
    assert word_counts(pa.array([], pa.string())).to_pylist() == []
