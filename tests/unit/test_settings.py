import pytest

from handler.errors import SettingsError
from handler.settings import Settings


def test_defaults_serve_the_bundled_model_under_the_names_that_clients_hard_code():
    settings = Settings.from_env({})
    assert settings.models == ("all-MiniLM-L6-v2",)
    assert settings.aliases == ("text-embedding-ada-002", "text-embedding-3-small")
    assert settings.workers >= 1


@pytest.mark.parametrize(("memory", "workers"), [("512", 1), ("1769", 1), ("1770", 2), ("3538", 2), ("10240", 6)])
def test_on_lambda_workers_follow_the_memory(memory: str, workers: int):
    assert Settings.from_env({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory}).workers == workers


def test_lists_are_split_at_commas_and_may_be_emptied():
    settings = Settings.from_env({"MODELS": "a, b", "MODEL_ALIASES": ""})
    assert settings.models == ("a", "b")
    assert settings.aliases == ()


def test_no_model_at_all_is_refused():
    with pytest.raises(SettingsError, match="MODELS is empty: name at least one"):
        Settings.from_env({"MODELS": " ,"})


@pytest.mark.parametrize(
    ("variable", "field", "choices"),
    [
        ("TOKEN_INPUT", "token_input", ["decode", "native", "reject"]),
        ("LONG_INPUT", "long_input", ["error", "truncate", "window"]),
        ("ERROR_FORMAT", "error_format", ["openai", "plain"]),
        ("AUTH_MODE", "auth_mode", ["api-key", "iam", "jwt", "none"]),
        ("METRICS", "metrics", ["emf", "none"]),
    ],
)
def test_choices_default_to_their_first_and_are_named_when_wrong(variable, field, choices):
    assert getattr(Settings.from_env({}), field) == choices[0]
    for choice in choices:
        assert getattr(Settings.from_env({variable: choice}), field) == choice
    with pytest.raises(SettingsError, match=f"{variable} is 'x': choose one of {', '.join(choices)}"):
        Settings.from_env({variable: "x"})


def test_api_keys_are_pairs_and_a_name_may_stand_twice():
    old, new = "0" * 64, "f" * 64
    settings = Settings.from_env({"API_KEYS": f"alice:{old}, alice:{new} ,bob.2:{old}"})
    assert settings.api_keys == (("alice", old), ("alice", new), ("bob.2", old))
    assert Settings.from_env({"API_KEYS": ""}).api_keys == ()


@pytest.mark.parametrize(
    "pair", ["sk-secret", "alice:sk-secret", "alice:" + "F" * 64, ":" + "f" * 64, "a b:" + "f" * 64]
)
def test_what_is_no_pair_is_refused_without_being_shown(pair):
    with pytest.raises(SettingsError, match="API_KEYS must be comma-separated name:sha256 pairs") as refused:
        Settings.from_env({"API_KEYS": f"alice:{'0' * 64},{pair}"})
    assert pair not in str(refused.value)
