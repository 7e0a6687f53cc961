import pytest

from handler.embedding.prompts import choose_prompt, find_prompt
from handler.errors import RequestError

E5 = {"query": "query: ", "passage": "passage: "}
NOMIC = {"search_query": "search_query: ", "search_document": "search_document: ", "Clustering": "clustering: "}


@pytest.mark.parametrize(
    ("input_type", "e5", "nomic"),
    [
        ("query", "query: ", "search_query: "),
        ("search_query", "query: ", "search_query: "),
        ("retrieval.query", "query: ", "search_query: "),
        ("passage", "passage: ", "search_document: "),
        ("document", "passage: ", "search_document: "),
        ("search_document", "passage: ", "search_document: "),
        ("retrieval.passage", "passage: ", "search_document: "),
        ("clustering", "", "clustering: "),
        ("classification", "", ""),
        ("text-matching", "", ""),
    ],
)
def test_names_of_other_apis_find_the_models_prompt(input_type, e5, nomic):
    for prompts, expected in ((E5, e5), (NOMIC, nomic), ({}, "")):
        assert prompts.get(choose_prompt("m", prompts, input_type), "") == (expected if prompts else "")


def test_the_models_own_names_come_first():
    prompts = {"query": "a", "search_query": "b", "STS": "c", "": "d"}
    assert [choose_prompt("m", prompts, name) for name in prompts] == list(prompts)


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_input_type_asks_for_the_default_prompt_or_for_that_of_the_models_name(nothing):
    assert choose_prompt("m", {"": "default: ", **E5}, nothing) == ""
    assert choose_prompt("m", E5, nothing, "document") == "passage"


def test_a_typo_is_refused_with_the_names_that_are_known():
    with pytest.raises(RequestError, match=r"^Invalid 'input_type': 'querry' is unknown; 'm' knows query, ") as raised:
        choose_prompt("m", {**E5, "": "x", "STS": "y"}, "querry")
    assert raised.value.message.endswith(
        "query, passage, STS, search_query, retrieval.query, document, search_document, retrieval.passage, "
        "classification, clustering, separation, text-matching."
    )
    assert (raised.value.param, raised.value.code) == ("input_type", "invalid_value")
    assert find_prompt("", E5) is None


def test_an_input_type_may_not_contradict_the_models_name():
    assert choose_prompt("m", E5, "search_query", "query") == "query"
    assert choose_prompt("m", {}, "document", "search_document") == "passage"
    with pytest.raises(RequestError, match=r"^Invalid 'input_type': it is 'passage', and 'model' asks for 'query'; "):
        choose_prompt("m", E5, "passage", "query")
