"""Attacks on a service with one configured key, and the expected status of each.

Only the attacks whose names contain KEY use the configured key.
"""

from handler.api.keys import digest_of
from tests import raw_http

KEY = "sk-plughmarker-of-the-attacks"

# Values of the Authorization header.
HEADERS: dict[str, tuple[list[str | bytes], int]] = {
    "no header": ([], 401),
    "KEY": ([f"Bearer {KEY}"], 200),
    "lower-case bearer, KEY": ([f"bearer {KEY}"], 200),
    "two spaces, KEY": ([f"Bearer  {KEY}"], 200),
    "surrounding spaces and tabs, KEY": ([f" \tBearer {KEY}\t "], 200),
    "empty header": ([""], 401),
    "only spaces": (["   "], 401),
    "Bearer without a key": (["Bearer"], 401),
    "Bearer and spaces": (["Bearer    "], 401),
    "no scheme, KEY": ([KEY], 401),
    "tab instead of the space, KEY": ([f"Bearer\t{KEY}"], 401),
    "Basic, KEY": ([f"Basic {KEY}"], 401),
    "Basic with KEY in base64": (["Basic OnNrLXBsdWdobWFya2Vy"], 401),
    "scheme in quotes, KEY": ([f'"Bearer" {KEY}'], 401),
    "KEY in quotes": ([f'Bearer "{KEY}"'], 401),
    "KEY in upper case": ([f"Bearer {KEY.upper()}"], 401),
    "KEY without its last character": ([f"Bearer {KEY[:-1]}"], 401),
    "KEY with an extra character": ([f"Bearer {KEY}x"], 401),
    "KEY and a comma": ([f"Bearer {KEY},"], 401),
    "KEY and a parameter": ([f"Bearer {KEY}; realm=x"], 401),
    "KEY twice in one header": ([f"Bearer {KEY}, Bearer {KEY}"], 401),
    "KEY after a wrong key in one header": ([f"Bearer sk-mallory, Bearer {KEY}"], 401),
    "no-break space before KEY": ([b"Bearer \xc2\xa0" + KEY.encode()], 401),
    "no-break space after KEY": ([b"Bearer " + KEY.encode() + b"\xc2\xa0"], 401),
    "full-width KEY": (["Bearer \uff53\uff4b-plughmarker-of-the-attacks".encode()], 401),
    "invalid UTF-8": ([b"Bearer \xff\xfe\xfd"], 401),
    "KEY's digest": ([f"Bearer {digest_of(KEY)}"], 401),
    "KEY's name and digest": ([f"Bearer alice:{digest_of(KEY)}"], 401),
    "name instead of a key": (["Bearer alice"], 401),
    "percent-encoded KEY": ([f"Bearer {KEY.replace('-', '%2d')}"], 401),
    "one character": (["Bearer x"], 401),
    "as few characters as a key may have": ([f"Bearer {'x' * 20}"], 401),
    "very long": ([f"Bearer {'x' * 12_000}"], 401),
    "longer than the limit": ([f"Bearer {'x' * 20_000}"], 431),
    "SQL injection": (["Bearer ' OR '1'='1"], 401),
    "template injection": (["Bearer ${API_KEYS}"], 401),
}

# Requests without a key, by method and path.
ROUTES: dict[tuple[str, str], int] = {
    ("GET", "/health"): 200,
    ("POST", "/v1/embeddings"): 401,
    ("GET", "/v1/models"): 401,
    ("GET", "/v1/models/tiny"): 401,
    ("GET", "/openapi.json"): 401,
    ("GET", "/"): 401,
    **{
        ("GET", path): 401
        for path in (
            *("//health", "/health/", "/HEALTH", "/Health", "/health;x", "/health;/v1/models", "/health%00"),
            *("/health%20", "/health%2f", "/%2fhealth", "/%2f/health", "/v1/health", "/health/v1/models"),
            *("/health/../v1/models", "/health/%2e%2e/v1/models", "/health/..%2fv1/models", "/health%2f../v1/models"),
            *("/v1/models/../../health", "/v1/%2e%2e/health", "/./health", "/%2e/health", "/health/.", "/health%23"),
            *("/%252fhealth", "/health%3f", "/prod/health", "/$default/health", "/docs", "/redoc", "/metrics"),
            *("/v1/models/%2e%2e/%2e%2e/health", "//v1//models", "/V1/MODELS", "/v1/models;/health", "/%00/health"),
            *("/v1%2fmodels", "/%76%31/models", "/.env", "/%ff%fe", "/2015-03-31/functions/function/invocations"),
        )
    },
    **{
        (method, path): 405 if path == "/health" else 401
        for method in ("HEAD", "OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "POST", "PROPFIND", "BREW")
        for path in ("/health", "/v1/embeddings", "/v1/models", "/v1/files", "/v1/batches/x", "/v1/uploads/x/parts")
    },
    ("get", "/health"): 405,
    ("HEAD", "/health"): 200,
}

# Raw requests that no client library sends. A 400 comes from the HTTP server itself, without the envelope.
RAW_REQUESTS: dict[str, tuple[bytes, int]] = {
    "two headers, KEY and a wrong key": (
        raw_http.request("GET", "/v1/models", f"Authorization: Bearer {KEY}", "Authorization: Bearer sk-mallory"),
        401,
    ),
    "two headers, KEY twice": (raw_http.request("GET", "/v1/models", *[f"authorization: Bearer {KEY}"] * 2), 401),
    "folded header, KEY": (raw_http.request("GET", "/v1/models", f"Authorization: Bearer\r\n {KEY}"), 200),
    "folded header, wrong key": (raw_http.request("GET", "/v1/models", "Authorization: Bearer\r\n sk-mallory"), 401),
    "KEY folded into another header": (
        raw_http.request("GET", "/v1/models", f"x: y\r\n Authorization: Bearer {KEY}"),
        401,
    ),
    "space before the colon, KEY": (raw_http.request("GET", "/v1/models", f"Authorization : Bearer {KEY}"), 400),
    "null byte in the header": (raw_http.request("GET", "/v1/models", f"Authorization: Bearer {KEY}\0"), 400),
    "bare carriage return": (raw_http.request("GET", "/v1/models", f"x: y\rAuthorization: Bearer {KEY}"), 400),
    "KEY as a trailer": (
        raw_http.request("POST", "/v1/embeddings", "transfer-encoding: chunked", "trailer: authorization").replace(
            b"content-length: 0\r\n", b""
        )
        + b"0\r\nAuthorization: Bearer %b\r\n\r\n" % KEY.encode(),
        401,
    ),
    "KEY in the query": (raw_http.request("GET", f"/v1/models?authorization=Bearer%20{KEY}&api_key={KEY}"), 401),
    "KEY as a cookie": (raw_http.request("GET", "/v1/models", f"cookie: authorization=Bearer {KEY}"), 401),
    "KEY as x-api-key": (raw_http.request("GET", "/v1/models", f"x-api-key: {KEY}"), 401),
    "KEY as proxy-authorization": (raw_http.request("GET", "/v1/models", f"proxy-authorization: Bearer {KEY}"), 401),
    "another path in a header": (
        raw_http.request(
            "GET", "/v1/models", "x-original-url: /health", "x-rewrite-url: /health", "x-forwarded-prefix: /x"
        ),
        401,
    ),
    "another method in a header": (raw_http.request("POST", "/v1/embeddings", "x-http-method-override: GET"), 401),
    "gateway context in a header": (
        raw_http.request("GET", "/v1/models", 'x-amzn-request-context: {"authorizer":{"iam":{}}}', "aws.event: {}"),
        401,
    ),
    "absolute form": (raw_http.request("GET", "http://here/v1/models"), 401),
    "absolute form of the public route": (raw_http.request("GET", "http://here/health"), 401),
    "absolute form that ends in the public route": (raw_http.request("GET", "http://here/v1/models?/health"), 401),
    "authority form": (raw_http.request("CONNECT", "here:80"), 401),
    "asterisk form": (raw_http.request("OPTIONS", "*"), 401),
    "backslash in the target": (raw_http.request("GET", "\\health"), 401),
    "fragment in the target": (raw_http.request("GET", "/v1/models#/health"), 401),
    "non-ASCII bytes in the target": (raw_http.request("GET", "/health\u00e9"), 400),
    "HTTP/1.0": (raw_http.request("GET", "/v1/models").replace(b"HTTP/1.1", b"HTTP/1.0"), 401),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 401),
    "request in the body of a public one": (
        raw_http.request("GET", "/health", body=raw_http.request("GET", "/v1/models", f"authorization: Bearer {KEY}")),
        200,
    ),
    "two Content-Length headers": (raw_http.request("POST", "/v1/embeddings", "content-length: 5"), 400),
    "Content-Length and chunked encoding": (
        raw_http.request("POST", "/v1/embeddings", "transfer-encoding: chunked") + b"0\r\n\r\n",
        401,
    ),
    "WebSocket upgrade": (
        raw_http.request(
            *("GET", "/v1/models", "connection: upgrade", "upgrade: websocket"),
            *("sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="),
        ),
        401,
    ),
}
