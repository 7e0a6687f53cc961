from handler.api.routes import server_timing


def test_server_timing_is_in_milliseconds():
    assert server_timing({"tokenize": 0.00123, "infer": 1.5}, 0) == "tokenize;dur=1.23, infer;dur=1500.00"


def test_server_timing_says_how_many_tokens_were_cached():
    assert server_timing({"tokenize": 0.001}, 2) == 'tokenize;dur=1.00, cache;desc="2 tokens"'
