"""The function: one data path, read top to bottom.

    local.py          the same app on a loopback port, or one text from the command line
    main.py           composition root, the only module with effects at import:
                      settings -> catalog -> app -> lambda_handler
    events.py         Lambda's entry: an event to its answer, whatever the event
    app.py            create_app(settings, catalog): routes, middleware and error handlers, declared in one place
    openapi.py        the OpenAPI document, built from the routes and schemas when first asked for
    auth.py           API keys by their SHA-256; make api-key
    bounds.py         how large a request may be
    cors.py           web pages that call from elsewhere
    routes.py         POST /v1/embeddings, GET /v1/models, GET /v1/models/{id}, GET /health
    observability.py  request ids, stage timings, log and metrics, the last line of defence
    schemas.py        the OpenAI contract and its limits
    catalog.py        names and aliases -> served models, loaded when first needed
    attempts.py       a result that takes time and may fail, asked for again and again
    embedder.py       the spine: tokenize -> infer -> pool -> truncate dimensions -> normalize
    deadline.py       when a request must have been answered, and whether it can be
    tokenization.py   text or token ids -> token sequences; what to do with inputs that are too long
    words.py          plain text -> token ids, word by word
    cl100k.py         OpenAI's token ids -> text
    inference.py      ONNX Runtime: token sequences of one length -> their hidden states
    artifacts.py      references -> files of the image or of a bucket, each checked against its digest
    store.py          published models in S3
    manifest.py       Reference and Manifest
    pooling.py        pure numpy: mean, cls, average_windows, truncate_dimensions, l2_normalize
    encoding.py       vectors -> JSON floats or base64 of little-endian float32, if they fit
    settings.py       Settings.from_env(environ): the only reader of the environment
    errors.py         the error tree, the one status table, the error envelope

Imports point one way, down this list; a test keeps it so.
"""
