"""The local service over HTTP, as a process of its own: warm requests, one after the other.

python -m benchmarks.latency
"""

import re
import statistics
import subprocess
import sys
import time
from http.client import HTTPConnection

import orjson

TEXT = "The food was delicious and the waiter..."
REQUESTS = {"one short text, float": ([TEXT], "float"), "2048 short texts, base64": ([TEXT] * 2048, "base64")}
CALLS = {1: 300, 2048: 5}


def main() -> None:
    """Print the median of each kind of request."""
    service = subprocess.Popen(
        [sys.executable, "-m", "handler.local", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        port = re.search(r"127.0.0.1:(\d+)", service.stdout.readline() if service.stdout else "")
        connection = HTTPConnection("127.0.0.1", int(port[1]) if port else 0)
        for name, (texts, encoding_format) in REQUESTS.items():
            body = orjson.dumps({"model": "all-MiniLM-L6-v2", "input": texts, "encoding_format": encoding_format})
            times = [_time(connection, body) for _ in range(CALLS[len(texts)])][1:]
            print(f"{name:26} p50 {statistics.median(times) * 1000:8.2f} ms")
        resident = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(service.pid)], capture_output=True, text=True, check=True
        )
        print(f"{'memory after that':26} {int(resident.stdout) / 1024:12.0f} MB")
    finally:
        service.terminate()
        service.wait()


def _time(connection: HTTPConnection, body: bytes) -> float:
    started = time.perf_counter()
    connection.request("POST", "/v1/embeddings", body)
    connection.getresponse().read()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
