"""What the page says when a request fails, where, and that it works again once the cause is gone."""

from playwright.sync_api import Page

from tests.page.conftest import KEY, TEXTS, Tab, opened, serve


def forgive(tab: Tab) -> None:
    """Accept what the browser itself logs of a failed request; nothing else."""
    assert tab.watch.complaints
    assert all(each.startswith("Failed to load resource") for each in tab.watch.complaints)
    tab.watch.complaints.clear()


def is_invalid(page: Page, label: str) -> bool:
    """Return whether a field is marked as invalid, has the focus, and the error below it."""
    field = page.get_by_label(label, exact=True)
    if field.evaluate("(field) => field.nextElementSibling?.id") != "error":
        return False
    return field.get_attribute("aria-invalid") == "true" and field.evaluate(
        "(field) => field === document.activeElement"
    )


def test_page_asks_for_the_key_and_sends_nothing_before(context, protected_service):
    with opened(context, f"{protected_service.address}/") as tab:
        tab.expect_status("Enter a key, then embed.")
        assert [path for _, path in tab.watch.requests] == ["/"]
        tab.page.get_by_role("button", name="Embed").click()
        tab.expect_error("No API key")
        assert is_invalid(tab.page, "API key")
        forgive(tab)


def test_wrong_key_is_named_and_the_right_one_works(context, protected_service):
    with opened(context, f"{protected_service.address}/") as tab:
        key = tab.page.get_by_label("API key")
        key.fill("sk-the-key-of-mallory-of-nowhere")
        key.press("Enter")
        tab.expect_error("it is not one of the configured keys. Enter a valid key, then embed again.")
        assert is_invalid(tab.page, "API key")
        forgive(tab)
        key.fill("sk-\N{EM DASH}-from-a-word-processor")
        key.press("Enter")
        tab.expect_error("No key has such characters. Copy it again.")
        key.fill(f" {KEY} ")
        key.press("Enter")
        tab.expect_status("Embedded 9 texts")
        assert not is_invalid(tab.page, "API key")
        assert tab.page.get_by_role("alert").inner_text() == ""


def test_key_is_in_memory_only(context, protected_service):
    with opened(context, f"{protected_service.address}/") as tab:
        tab.page.get_by_label("API key").fill(KEY)
        tab.embed(TEXTS)
        assert tab.page.url == f"{protected_service.address}/"
        assert context.cookies() == []
        assert tab.page.evaluate("[localStorage.length, sessionStorage.length, history.length]") == [0, 0, 2]
        assert tab.page.evaluate("indexedDB.databases()") == []
        assert KEY not in tab.page.content()
        tab.page.reload()
        assert tab.page.get_by_label("API key").input_value() == ""


def test_service_that_is_gone_is_named_and_works_again_when_it_is_back(context):
    with serve() as service, opened(context, f"{service.address}/") as tab:
        tab.expect_status("Embedded 9 texts")
        service.process.kill()
        service.process.wait()
        tab.page.get_by_role("button", name="Embed").click()
        tab.expect_error(f"No response from {service.address}/v1. Start the service with make run, then embed again.")
        assert len(tab.heat_map()) == 9  # the results stay
        forgive(tab)
        with serve(int(service.address.rpartition(":")[2])):
            tab.embed(TEXTS)
            assert tab.page.get_by_role("alert").inner_text() == ""


def test_text_that_is_too_long_is_named_and_shown(tab):
    texts = ["short", "", "x" * 70_000, "last"]
    tab.page.get_by_label("Texts, one per line").fill("\n".join(texts))
    tab.page.get_by_role("button", name="Embed").click()
    tab.expect_error("Text 2: Invalid 'input.1': it has 70,000 characters, and at most 65,536 are accepted; split it.")
    forgive(tab)
    tab.page.get_by_role("button", name="Show this text").click()
    assert tab.page.evaluate("getSelection().toString()") == "x" * 70_000
    assert is_invalid(tab.page, "Texts, one per line")
    tab.embed(["short", "last"])


def test_request_without_a_text_is_not_sent(tab):
    before = len(tab.watch.requests)
    tab.page.get_by_label("Texts, one per line").fill(" \n\n")
    tab.page.get_by_role("button", name="Embed").click()
    tab.expect_error("There is no text. Write one per line, then embed again.")
    assert is_invalid(tab.page, "Texts, one per line")
    assert len(tab.watch.requests) == before


def test_model_that_is_gone_is_named_and_the_list_read_again(tab):
    tab.page.evaluate("document.querySelector('#model option').value = 'retired'")
    tab.page.get_by_role("button", name="Embed").click()
    tab.expect_error("'retired' is not served here; served: all-MiniLM-L6-v2")
    assert is_invalid(tab.page, "Model")
    forgive(tab)
    tab.embed(TEXTS)


def test_error_that_is_not_of_the_service_is_shown_too(tab):
    tab.page.route("**/v1/embeddings", lambda route: route.fulfill(status=429, json={"message": "Too Many Requests"}))
    tab.page.get_by_role("button", name="Embed").click()
    tab.expect_error("Too Many Requests Embed again in a few seconds.")
    tab.page.unroute("**/v1/embeddings")
    tab.page.route("**/v1/embeddings", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    tab.page.get_by_role("button", name="Embed").click()
    tab.expect_error("Status 502.")
    forgive(tab)
