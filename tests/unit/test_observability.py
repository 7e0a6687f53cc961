import json

from handler.observability import NAMESPACE, count_long_inputs, server_timing


def test_server_timing_is_in_milliseconds():
    assert server_timing({"tokenize": 0.00123, "infer": 1.5}) == "tokenize;dur=1.23, infer;dur=1500.00"


def test_long_inputs_are_a_metric_in_cloudwatchs_embedded_format(capsys):
    count_long_inputs(3, "truncate")
    line = json.loads(capsys.readouterr().out)
    (metric,) = line["_aws"]["CloudWatchMetrics"]
    assert metric["Namespace"] == NAMESPACE
    assert [each["Name"] for each in metric["Metrics"]] == ["LongInputs"]
    assert line["LongInputs"] == [3]
    assert line["policy"] == "truncate"
