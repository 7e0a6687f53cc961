import pytest

from handler.errors import RequestError
from handler.tokenization import Tokenizer
from tests import tiny


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(tiny.tokenizer_definition(), max_tokens=8)


def test_texts_become_ids_between_the_special_tokens(tokenizer):
    the, food = tiny.WORDS.index("the"), tiny.WORDS.index("food")
    assert tokenizer.encode(["The food"]) == [[tiny.OPENING, the, food, tiny.CLOSING]]


def test_sequences_are_not_padded_to_one_length(tokenizer):
    assert list(map(len, tokenizer.encode(["a", "a b c", " "]))) == [3, 5, 2]


def test_token_ids_are_used_as_they_are(tokenizer):
    assert tokenizer.encode([[2, 4, 3], [5]]) == [[2, 4, 3], [5]]


def test_an_id_outside_the_vocabulary_is_refused_where_it_is(tokenizer):
    assert tokenizer.encode([[len(tiny.WORDS) - 1]])
    with pytest.raises(RequestError, match=rf"ids run from 0 to {len(tiny.WORDS) - 1}") as refused:
        tokenizer.encode([[1], [len(tiny.WORDS)]])
    assert refused.value.param == "input.1"


@pytest.mark.parametrize("inputs", [["a", "a b c d e f g"], [[1], [4] * 9]])
def test_a_text_that_is_too_long_is_refused_where_it_is(tokenizer, inputs):
    assert tokenizer.encode(["a b c d e f"])
    with pytest.raises(
        RequestError, match="maximum context length is 8 tokens, however you requested 9 tokens"
    ) as refused:
        tokenizer.encode(inputs)
    assert refused.value.param == "input.1"
