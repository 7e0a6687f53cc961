import hashlib
import os

import pytest

from handler.errors import SettingsError
from handler.settings import Settings


def test_defaults_serve_the_bundled_model_under_openais_model_names():
    settings = Settings.from_env({})
    assert settings.models == ("all-MiniLM-L6-v2",)
    assert settings.aliases == ("text-embedding-ada-002", "text-embedding-3-small", "text-embedding-3-large")
    assert settings.workers >= 1


@pytest.mark.parametrize(
    ("memory", "workers", "threads"),
    [("512", 1, 1), ("1769", 1, 1), ("1770", 2, 1), ("3537", 2, 1), ("3538", 2, 2), ("10240", 6, 5), ("10614", 6, 6)],
)
def test_worker_count_follows_lambdas_memory_size(memory: str, workers: int, threads: int):
    settings = Settings.from_env({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory})
    assert (settings.workers, settings.threads) == (workers, threads)


def test_worker_count_follows_the_cpu_affinity_elsewhere(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 3}, raising=False)
    assert Settings.from_env({}).workers == 3


@pytest.mark.parametrize(("cpus", "workers", "threads"), [(5, 5, 5), (16, 16, 6), (None, 1, 1)])
def test_worker_count_follows_the_cpu_count_where_there_is_no_affinity(monkeypatch, cpus, workers, threads):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    settings = Settings.from_env({})
    assert (settings.workers, settings.threads) == (workers, threads)


def test_models_may_take_lambdas_memory_without_the_services_own():
    assert Settings.from_env({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769"}).model_memory == (1769 - 256) << 20
    assert Settings.from_env({}).model_memory is None


def test_lists_are_comma_separated_and_may_be_empty():
    settings = Settings.from_env({"MODELS": "a, b", "MODEL_ALIASES": "", "CORS_ORIGINS": "https://a.example,*"})
    assert settings.models == ("a", "b")
    assert settings.aliases == ()
    assert settings.cors_origins == ("https://a.example", "*")
    assert Settings.from_env({}).cors_origins == ()


def test_empty_list_of_models_is_rejected():
    with pytest.raises(SettingsError, match="MODELS is empty: name at least one"):
        Settings.from_env({"MODELS": " ,"})


@pytest.mark.parametrize(
    ("variable", "field", "choices"),
    [
        ("TOKEN_INPUT", "token_input", ["decode", "native", "reject"]),
        ("LONG_INPUT", "long_input", ["window", "truncate", "error"]),
        ("ERROR_FORMAT", "error_format", ["openai", "plain"]),
        ("AUTH_MODE", "auth_mode", ["api-key", "iam", "jwt", "none"]),
        ("METRICS", "metrics", ["emf", "none"]),
    ],
)
def test_choices_default_to_the_first_and_an_invalid_value_error_lists_them(variable, field, choices):
    assert getattr(Settings.from_env({}), field) == choices[0]
    for choice in choices:
        assert getattr(Settings.from_env({variable: choice}), field) == choice
    with pytest.raises(SettingsError, match=f"{variable} is 'x': choose one of {', '.join(choices)}"):
        Settings.from_env({variable: "x"})


def test_vector_cache_is_in_megabytes():
    assert [Settings.from_env(given).vector_cache >> 20 for given in ({}, {"VECTOR_CACHE_MB": "0"})] == [8, 0]
    for invalid in ("-1", "8 MB", "", "1e3", "10000", "٣"):
        with pytest.raises(SettingsError, match=r"VECTOR_CACHE_MB is '.*': write a whole number of megabytes"):
            Settings.from_env({"VECTOR_CACHE_MB": invalid})


def test_page_is_off_by_default():
    assert [Settings.from_env(given).page for given in ({}, {"PAGE": "false"}, {"PAGE": "true"})] == [
        False,
        False,
        True,
    ]
    with pytest.raises(SettingsError, match="PAGE is 'yes': choose one of false, true"):
        Settings.from_env({"PAGE": "yes"})


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "null", "https://a.example", "http://localhost:5173", "http://127.0.0.1", "http://[::1]:8080"),
        *("https://xn--mnchen-3ya.de", "http://a_b:443", "https://a.example:80", "chrome-extension://abcdefgh"),
    ],
)
def test_origins_that_a_browser_sends_are_accepted(origin):
    assert Settings.from_env({"CORS_ORIGINS": f"https://b.example, {origin}"}).cors_origins[1] == origin


@pytest.mark.parametrize(
    "origin",
    [
        *("https://a.example/", "a.example", "https://a.example/path", "https://a.example?", "//a.example", "https://"),
        *(
            "HTTPS://a.example",
            "https://A.example",
            "https://a.example:443",
            "http://a.example:80",
            "https://a.example:",
        ),
        *("https://*.example", "https://münchen.de", "https://me@a.example", "https:a.example", "http://[::1", "a b"),
        *("https://a.example https://b.example", '"https://a.example"', f"https://{'a' * 254}"),
    ],
)
def test_origins_that_no_browser_sends_are_rejected(origin):
    with pytest.raises(SettingsError, match=r"CORS_ORIGINS names '.*write scheme://host or") as raised:
        Settings.from_env({"CORS_ORIGINS": f"https://b.example,{origin}"})
    assert f"'{origin}'" in raised.value.message


@pytest.mark.parametrize(("value", "path"), [("", ""), ("/", ""), ("emb", "emb"), ("/X/emb.2/", "X/emb.2")])
def test_base_path_has_no_slashes_around_it(value, path):
    assert Settings.from_env({"BASE_PATH": value}).base_path == path
    assert Settings.from_env({}).base_path == ""


@pytest.mark.parametrize("value", ["a//b", "a b", "https://a.example/emb", "emb?", "é", "{proxy+}"])
def test_invalid_base_path_is_rejected(value):
    with pytest.raises(SettingsError, match=r"BASE_PATH is '.*write a path"):
        Settings.from_env({"BASE_PATH": value})


def test_api_keys_are_pairs_and_a_name_may_have_several():
    old, new = "0" * 64, "f" * 64
    settings = Settings.from_env({"API_KEYS": f"alice:{old}, alice:{new} ,bob.2:{old}"})
    assert settings.api_keys == (("alice", old), ("alice", new), ("bob.2", old))
    assert Settings.from_env({"API_KEYS": ""}).api_keys == ()


def test_digest_of_an_empty_key_is_rejected():
    pair = f"ci:{hashlib.sha256(b'').hexdigest()}"
    message = "API_KEYS gives 'ci' the SHA-256 of an empty key: create a key with make api-key NAME=ci"
    with pytest.raises(SettingsError, match=message):
        Settings.from_env({"API_KEYS": f"alice:{'0' * 64},{pair}"})


@pytest.mark.parametrize(
    "pair", ["sk-secret", "alice:sk-secret", "alice:" + "F" * 64, ":" + "f" * 64, "a b:" + "f" * 64]
)
def test_malformed_api_keys_are_rejected_without_being_logged(pair):
    with pytest.raises(SettingsError, match="API_KEYS must be comma-separated name:sha256 pairs") as raised:
        Settings.from_env({"API_KEYS": f"alice:{'0' * 64},{pair}"})
    assert pair not in str(raised.value)


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    "url", ["https://a.example/hook?x=1", "https://a.example:8443", "http://localhost:8000/hook", ""]
)
def test_webhooks_are_sent_with_tls_or_to_this_machine(url):
    settings = Settings.from_env({"WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRET})
    assert (settings.webhook_url, settings.webhook_secret) == (url, SECRET)


@pytest.mark.parametrize(
    "url", ["http://a.example/hook", "https://me:secret@a.example/", "https://", "a.example", "https://a.example/\nx"]
)
def test_other_webhook_urls_are_rejected(url):
    with pytest.raises(SettingsError, match="WEBHOOK_URL must be https://host/path"):
        Settings.from_env({"WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRET})


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", SECRET.removeprefix("whsec_"), f"{SECRET}!"])
def test_webhooks_need_a_secret_which_is_not_shown(secret):
    with pytest.raises(SettingsError, match="whsec_ followed by at least 24 random bytes") as raised:
        Settings.from_env({"WEBHOOK_URL": "https://a.example/", "WEBHOOK_SECRET": secret})
    assert not secret.strip("whsec_") or secret not in str(raised.value)
    assert SECRET not in repr(Settings(webhook_secret=SECRET))
