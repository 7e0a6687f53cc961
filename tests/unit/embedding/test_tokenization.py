import orjson
import pytest

from handler.embedding import cl100k
from handler.embedding.deadline import Deadline
from handler.embedding.tokenization import Encoding, Library, Tokenizer
from handler.embedding.wordpiece import CachedWordPiece
from handler.errors import RequestError, UnavailableError
from handler.settings import LongInput, TokenInput
from tests import tiny
from tests.clock import replace_clock


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(tiny.tokenizer_definition(), 8, "native")


def test_text_is_encoded_between_special_tokens(tokenizer):
    the, food = tiny.WORDS.index("the"), tiny.WORDS.index("food")
    assert tokenizer.encode(["The food"]) == [Encoding([[tiny.OPENING, the, food, tiny.CLOSING]])]


def test_sequences_are_not_padded(tokenizer):
    assert [len(encoding.windows[0]) for encoding in tokenizer.encode(["a", "a b c", " "])] == [3, 5, 2]


def test_native_token_ids_are_used_unchanged(tokenizer):
    assert tokenizer.encode([[2, 4, 3], [5]]) == [Encoding([[2, 4, 3]]), Encoding([[5]])]


def test_id_outside_the_vocabulary_is_rejected_with_its_position(tokenizer):
    assert tokenizer.encode([[len(tiny.WORDS) - 1]])
    with pytest.raises(RequestError, match=rf"IDs run from 0 to {len(tiny.WORDS) - 1}") as raised:
        tokenizer.encode([[1], [len(tiny.WORDS)]])
    assert (raised.value.param, raised.value.code) == ("input.1", "invalid_token_id")


@pytest.mark.parametrize("inputs", [["a", "a b c d e f g"], ["a", "a " * 1000], [[1], [4] * 9]])
def test_error_policy_rejects_an_input_with_its_position_and_names_the_setting(inputs):
    tokenizer = tokenizer_with("native", "error")
    assert tokenizer.encode(["a b c d e f"])
    with pytest.raises(
        RequestError, match="maximum context length is 8 tokens, however you requested at least 9 tokens"
    ) as raised:
        tokenizer.encode(inputs)
    assert (raised.value.param, raised.value.code) == ("input.1", "context_length_exceeded")
    assert "LONG_INPUT=window (the template's parameter LongInput)" in raised.value.message


def tokenizer_with(token_input: TokenInput = "decode", long_input: LongInput = "window") -> Tokenizer:
    return Tokenizer(tiny.tokenizer_definition(), 8, token_input, long_input)


def test_openai_token_ids_are_decoded_to_text():
    tokenizer = tokenizer_with()
    assert tokenizer.encode([[15339, 1917], [64]]) == tokenizer.encode(["hello world", "a"])


def test_decoded_text_that_is_too_long_is_rejected_with_its_position(monkeypatch):
    monkeypatch.setattr(cl100k, "MAX_CHARACTERS", len("hell"))
    with pytest.raises(RequestError, match="stand for 5 characters, and at most 4") as raised:
        tokenizer_with().encode([[64], [15339]])
    assert raised.value.param == "input.1"


def test_id_outside_cl100k_is_rejected_with_its_position():
    with pytest.raises(RequestError, match=r"'input\.1' is not in cl100k_base: IDs run from 0 to 100255") as raised:
        tokenizer_with().encode([[100_255], [64, 100_256]])
    assert raised.value.param == "input.1"


def test_reject_policy_names_the_client_option_that_sends_text():
    tokenizer = tokenizer_with(token_input="reject")
    assert tokenizer.encode(["a"])
    with pytest.raises(RequestError, match="check_embedding_ctx_length=False") as raised:
        tokenizer.encode([[64]])
    assert (raised.value.param, raised.value.code) == ("input", "token_input_rejected")


LETTERS = [tiny.WORDS.index(letter) for letter in "abcdefghijklm"]


def test_truncate_policy_keeps_the_first_tokens():
    tokenizer = tokenizer_with(long_input="truncate")
    (encoding,) = tokenizer.encode(["a b c d e f g h"])
    assert encoding == Encoding([[tiny.OPENING, *LETTERS[:6], tiny.CLOSING]], long=True)
    assert not tokenizer.encode(["a b c d e f"])[0].long


def test_window_policy_keeps_every_token():
    (encoding,) = tokenizer_with(long_input="window").encode(["a b c d e f g h i j k l m"])
    assert encoding.long
    assert [window[1:-1] for window in encoding.windows] == [LETTERS[:6], LETTERS[6:12], LETTERS[12:]]
    assert all((window[0], window[-1]) == (tiny.OPENING, tiny.CLOSING) for window in encoding.windows)
    assert list(map(len, encoding.windows)) == [8, 8, 3]


@pytest.mark.parametrize("library", [False, True], ids=["wordpiece", "tokenizers"])
def test_window_policy_reads_as_many_tokens_as_openai_accepts(library):
    definition = orjson.loads(tiny.tokenizer_definition())
    if library:
        definition["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    tokenizer = Tokenizer(orjson.dumps(definition), 8)
    (encoding,) = tokenizer.encode(["a " * 8192])
    assert sum(len(window) - 2 for window in encoding.windows) == 8192
    with pytest.raises(
        RequestError, match="maximum context length is 8192 tokens, however you requested at least 8193 tokens"
    ) as raised:
        tokenizer.encode(["a", "a " * 8193])
    assert (raised.value.param, raised.value.code) == ("input.1", "context_length_exceeded")


def test_long_native_token_ids_are_split_without_adding_special_tokens():
    (encoding,) = tokenizer_with(token_input="native", long_input="window").encode([LETTERS])
    assert encoding.windows == [LETTERS[:8], LETTERS[8:]]


def test_openai_token_ids_may_be_more_tokens_of_the_model():
    ellipsis = 1131
    assert cl100k.decode([ellipsis]) == "..."
    (encoding,) = tokenizer_with().encode([[ellipsis] * 8192])
    assert sum(len(window) - 2 for window in encoding.windows) == 3 * 8192


def test_prompt_is_prepended_to_every_text():
    assert tokenizer_with().encode(["b", "c"], prompt="a ") == tokenizer_with().encode(["a b", "a c"])


def test_encode_preserves_the_order_of_texts():
    texts = ["\u00e9 a", "b", "\u00e9 c", "\u00e9 d", "e", "\u00e9"]
    assert [encoding.windows[0][-2] for encoding in tokenizer_with().encode(texts)[:5]] == [
        LETTERS[i] for i in range(5)
    ]


def test_encode_stops_at_the_first_text_over_the_context_length(monkeypatch):
    tokenizer = tokenizer_with(long_input="error")
    encoded: list[str] = []
    assert tokenizer._words is not None
    encode = tokenizer._words.encode

    def record(text: str, limit: int) -> list[int]:
        encoded.append(text)
        return encode(text, limit)

    monkeypatch.setattr(tokenizer._words, "encode", record)
    with pytest.raises(RequestError):
        tokenizer.encode(["a", "b " * 9, "c"])
    assert encoded == ["a", "b " * 9]


def test_decoded_characters_and_tokens_are_limited_per_request(monkeypatch):
    monkeypatch.setattr("handler.embedding.tokenization.MAX_REQUEST_CHARACTERS", 10)
    assert tokenizer_with().encode([[64]] * 10)
    with pytest.raises(RequestError, match=r"up to 'input\.10' have more than 10 characters") as raised:
        tokenizer_with().encode([[64]] * 20)
    assert (raised.value.param, raised.value.code) == ("input", "request_too_large")
    monkeypatch.setattr("handler.embedding.tokenization.MAX_REQUEST_TOKENS", 4)
    assert tokenizer_with().encode(["a", "b c d"])
    inputs: list[list[str] | list[list[int]]] = [["a", "b c d e"], [[4] * 4, [4]]]
    for each in inputs:
        with pytest.raises(RequestError, match=r"up to 'input\.1' have more than 4 tokens"):
            tokenizer_with(token_input="native").encode(each)


def test_encode_raises_after_the_deadline(monkeypatch):
    now = [0.0]
    replace_clock(monkeypatch, lambda: now[0], "handler.embedding.deadline")
    deadline = Deadline(0, 1)
    assert tokenizer_with().encode(["a"], deadline=deadline)
    now[0] = 2
    with pytest.raises(UnavailableError, match="too little time"):
        tokenizer_with().encode(["a", "b"], deadline=deadline)


def test_unsupported_tokenizer_falls_back_to_the_tokenizers_library():
    definition = orjson.loads(tiny.tokenizer_definition())
    definition["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    tokenizer = Tokenizer(orjson.dumps(definition), 8, long_input="truncate")
    assert isinstance(tokenizer._words, Library)
    assert tokenizer.encode(["a b"]) == tokenizer_with().encode(["a b"])
    assert tokenizer.encode(["a b c d e f g h"]) == tokenizer_with(long_input="truncate").encode(["a b c d e f g h"])


def test_vocabulary_size_is_that_of_tokenizers():
    definition = orjson.loads(tiny.tokenizer_definition())
    added = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    definition["added_tokens"].append({"id": len(tiny.WORDS), "content": "[NEW]", **added})
    native = Tokenizer(orjson.dumps(definition), 8, "native")
    assert isinstance(native._words, CachedWordPiece)
    assert native._words.vocabulary_size == Library(orjson.dumps(definition)).vocabulary_size == len(tiny.WORDS) + 1


@pytest.mark.parametrize(("words", "read"), [("caf\u00e9 b ", 1), ("b" * 90 + " ", 5), ("b" * 100, 13)])
def test_twice_as_much_of_a_text_is_read_by_tokenizers_until_it_must_be_too_long(words, read, monkeypatch):
    definition = orjson.loads(tiny.tokenizer_definition())
    definition["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    definition["model"]["max_input_chars_per_word"] = 10_000
    tokenizer, text, beginnings = Tokenizer(orjson.dumps(definition), 8, long_input="truncate"), words * 1000, []
    library = tokenizer._words
    assert isinstance(library, Library)
    encode = library._encode_all
    whole = encode(text)

    def record(beginning: str) -> list[int]:
        beginnings.append(beginning)
        return encode(beginning)

    monkeypatch.setattr(library, "_encode_all", record)
    assert tokenizer.encode([text])[0].windows == [[tiny.OPENING, *whole[:6], tiny.CLOSING]]
    assert len(beginnings) == read
    assert all(text.startswith(part) for part in beginnings)
    assert sum(map(len, beginnings)) <= 3 * len(text)


def test_special_tokens_without_a_template_are_those_of_tokenizers():
    definition = orjson.loads(tiny.tokenizer_definition())
    definition["post_processor"] = {
        "type": "BertProcessing",
        "cls": ["[CLS]", tiny.OPENING],
        "sep": ["[SEP]", tiny.CLOSING],
    }
    assert Tokenizer(orjson.dumps(definition), 8).encode(["a b"]) == tokenizer_with().encode(["a b"])


def test_bert_tokenizer_is_read_without_tokenizers_own():
    tokenizer = tokenizer_with()
    assert tokenizer.encode(["a", "\u00e9"])
    assert isinstance(tokenizer._words, CachedWordPiece)
