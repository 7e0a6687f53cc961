from handler.api.routes import server_timing


def test_server_timing_is_in_milliseconds():
    assert server_timing({"tokenize": 0.00123, "infer": 1.5}) == "tokenize;dur=1.23, infer;dur=1500.00"
