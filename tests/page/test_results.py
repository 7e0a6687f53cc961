"""What the page shows, compared with the API: similarities, truncation, the map, the ranking and the request."""

import re

import numpy as np
import pytest

from tests.page.conftest import MODEL, TEXTS, number, opened

MARKUP = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "</textarea>{{7*7}}<b>bold</b>",
    "&lt;&amp;",
]


def set_dimensions(tab, size: int) -> None:
    slider = tab.page.get_by_label("Dimensions")
    slider.fill(str(size))
    tab.page.locator("#size").filter(has_text=f"{size} of 384").wait_for()


def test_example_is_embedded_when_the_page_opens(tab):
    texts = tab.page.get_by_label("Texts, one per line").input_value().split("\n")
    assert len(tab.heat_map()) == len(texts) == 9
    assert tab.page.locator("#ranking li").first.inner_text().startswith("I cannot log in to my account.")
    assert [path for _, path in tab.watch.requests] == ["/", "/v1/models", "/v1/embeddings", "/v1/embeddings"]


def test_heat_map_shows_the_dot_products_of_the_apis_vectors(tab, service):
    tab.embed(TEXTS)
    vectors = service.vectors(TEXTS)
    np.testing.assert_allclose(tab.heat_map(), vectors @ vectors.T, atol=0.0051)
    assert tab.page.locator("#heat tbody th").all_inner_texts() == [f"{i}{text}" for i, text in enumerate(TEXTS, 1)]
    assert tab.page.get_by_role("table").get_by_role("columnheader").all_inner_texts() == ["1", "2", "3", "4"]


@pytest.mark.parametrize("size", [192, 32, 1])
def test_slider_shows_the_apis_truncated_vectors_and_the_largest_change(tab, service, size):
    tab.embed(TEXTS)
    set_dimensions(tab, size)
    full, cut = (vectors @ vectors.T for vectors in (service.vectors(TEXTS), service.vectors(TEXTS, size)))
    np.testing.assert_allclose(tab.heat_map(), cut, atol=0.0051)
    change = cut - full
    i, j = np.unravel_index(np.argmax(np.abs(np.triu(change, 1))), change.shape)
    shown = re.fullmatch(r"Largest change: (.+), texts (\d+) and (\d+)\.", tab.page.locator("#change").inner_text())
    assert number(shown[1]) == pytest.approx(change[i, j], abs=0.0051)
    assert (int(shown[2]), int(shown[3])) == (i + 1, j + 1)
    assert tab.page.locator("td.changed").count() == 2
    set_dimensions(tab, 384)
    assert tab.page.locator("td.changed").count() == 0
    np.testing.assert_allclose(tab.heat_map(), full, atol=0.0051)


def test_query_ranks_the_texts_by_the_apis_dot_products(tab, service):
    tab.embed(TEXTS)
    tab.page.get_by_role("textbox", name="Query").fill("interest rates")
    tab.page.get_by_role("button", name="Rank").click()
    tab.expect_status("Ranked the texts.")
    vectors = service.vectors(["interest rates", *TEXTS])
    scores = vectors[1:] @ vectors[0]
    rows = [row.inner_text().split("\n") for row in tab.page.locator("#ranking li").all()]
    assert [text for text, _ in rows] == [TEXTS[i] for i in np.argsort(-scores)]
    np.testing.assert_allclose([number(score) for _, score in rows], -np.sort(-scores), atol=0.0051)
    tab.page.get_by_role("textbox", name="Query").fill("")
    tab.page.get_by_role("textbox", name="Query").press("Enter")
    tab.page.locator("#ranking li").first.wait_for(state="detached")
    assert tab.page.locator("#map path").count() == 0


def test_map_shows_the_two_principal_components(tab, service):
    tab.embed(TEXTS)
    centred = service.vectors(TEXTS) - service.vectors(TEXTS).mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    share = 100 * np.sum(strengths[:2] ** 2) / np.sum(strengths**2)
    assert f"{share:.0f} % of the variance" in tab.page.locator("#variance").inner_text()
    circles = tab.page.locator("#map circle").all()
    shown = np.array([[float(each.get_attribute(name)) for name in ("cx", "cy")] for each in circles])
    expected = left[:, :2] * strengths[:2]
    distances = [np.linalg.norm(points[:, None] - points[None], axis=2) for points in (shown, expected)]
    ratio = distances[0].max() / distances[1].max()
    np.testing.assert_allclose(distances[0], distances[1] * ratio, atol=22)  # covering points are moved apart: pixels


def test_request_shows_tokens_stages_model_and_digest(tab):
    tab.embed(["hello world"])  # four tokens, the special ones included
    facts = dict(row.inner_text().split("\n") for row in tab.page.locator("#facts > div").all())
    assert (facts["tokens"], facts["model"]) == ("4", MODEL)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", facts["digest"])
    stages = {name: float(value.removesuffix(" ms")) for name, value in facts.items() if value.endswith(" ms")}
    assert list(stages) == ["tokenize", "infer", "encode", "network and the rest"]
    total = float(re.search(r"in (\d+) ms", tab.page.get_by_role("status").inner_text())[1])
    assert sum(stages.values()) == pytest.approx(total, abs=0.6)
    assert stages["infer"] > 0


@pytest.mark.parametrize("texts", [["one"], ["same", "same"], ["", "  ", "a", "\t", "b"]])
def test_few_equal_and_blank_texts_are_no_special_case(tab, texts):
    kept = [text for text in texts if text.strip()]
    tab.page.get_by_label("Texts, one per line").fill("\n".join(texts))
    tab.page.get_by_role("button", name="Embed").click()
    tab.expect_status(f"Embedded {len(kept)} text")
    assert tab.heat_map().shape == (len(kept), len(kept))
    assert "NaN" not in tab.page.content()


def test_texts_are_shown_as_text(tab):
    tab.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    tab.embed(MARKUP)
    assert tab.page.locator("#heat tbody th").all_inner_texts() == [f"{i}{text}" for i, text in enumerate(MARKUP, 1)]
    assert tab.page.locator("img, b:text('bold'), body script + script").count() == 0


def test_more_texts_than_the_heat_map_holds_are_left_out_and_said_so(tab):
    texts = [f"text number {index}" for index in range(60)]
    with tab.page.expect_request(lambda request: request.method == "POST") as sent:
        tab.page.get_by_label("Texts, one per line").fill("\n".join(texts))
        tab.page.get_by_label("Texts, one per line").press("Control+Enter")
    assert sent.value.post_data_json["input"] == texts[:50]
    tab.expect_status("These are the first 50 of 60")
    assert tab.heat_map().shape == (50, 50)
    set_dimensions(tab, 100)


def test_status_says_when_the_results_are_of_other_texts(tab):
    tab.page.get_by_label("Texts, one per line").press_sequentially("x")
    tab.expect_status("The texts have changed")
    assert "x" in (tab.page.get_by_label("Texts, one per line").input_value())


@pytest.mark.parametrize("path", ["/team/emb", "/team/emb/"])
def test_page_works_behind_a_base_path(context, base_path_service, path):
    with opened(context, f"{base_path_service.address}{path}") as tab:
        tab.expect_status("Embedded 9 texts")
        assert tab.page.locator("#base").inner_text() == f"{base_path_service.address}/team/emb/v1"
        assert {each for _, each in tab.watch.requests} == {path, "/team/emb/v1/models", "/team/emb/v1/embeddings"}
        assert f"{base_path_service.address}/team/emb/v1/embeddings" in tab.code("curl")
