"""The code that runs on Lambda and locally. Three entry points, one path from text to vector.

    main.py           composition root of the Lambda function: settings -> catalog -> app -> lambda_handler
    local.py          the same app on a port of this machine, or texts' vectors from the command line
    server.py         the local server: its socket, and how it stops
    worker.py         the process that runs batches beside the local server
    connections.py    timeouts and limits of connections to the local server
    console.py        the request log of the local server
    signals.py        Ctrl-C and SIGTERM
    lambda_events.py  a Lambda event -> the ASGI app -> the response that the event's source expects
    bulk/             whole data sets -> vectors in Parquet, on this machine's cores or on AWS Step Functions
    api/              HTTP: routes, authentication, limits, error responses, the OpenAPI document
    contract/         OpenAI's embeddings contract: request schemas and response bodies
    batches/          OpenAI's Files, Uploads and Batches as they are stored
    storage/          files in a folder or in a bucket, behind one interface
    models/           model names -> loaded models
    embedding/        text -> unit vector; start reading at embedding/embedder.py
    artifacts/        model references -> verified bytes, from the image or from S3
    telemetry.py      log lines and CloudWatch metrics
    settings.py       Settings.from_env(environ): the only reader of the environment
    errors.py         the error tree, the HTTP status of each error, the error envelope

Modules import only what is below them in this list; tests/unit/test_architecture.py has the exact rules. Only main.py
has effects at import. Each package's docstring lists its modules in reading order.
"""
