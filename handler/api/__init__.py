"""HTTP: the FastAPI app and everything that knows about requests, headers and status codes.

    app.py              create_app(settings, catalog): routes, middleware and error handlers, declared in one place
    openapi.py          the OpenAPI document, built from the routes and schemas when first requested
    openapi_stored.py   what it says of files, uploads and batches
    routes.py           POST /v1/embeddings (and Azure OpenAI's), GET /v1/models, GET /v1/models/{id}, GET /health
    descriptions.py     what GET /v1/models and /v1/models/{id} say of models, imported by the first of them
    deferred.py         DeferredRoutes: the next three, imported by the first request to one of them
    batches.py          /v1/batches: create, retrieve, list, cancel
    uploads.py          /v1/uploads: create, add a part, complete, cancel
    files.py            /v1/files: create, retrieve, list, content, delete
    multipart.py        forms with a file, parsed while they arrive
    stored.py           work on files and batches: whose, where, and outside the event loop
    owner.py            who owns the files and batches of a request
    page.py             GET /, where settings.page is true: page.html, and the headers that confine it
    paths.py            PathNormalizationMiddleware: every usual spelling of the base URL
    auth.py             AuthenticationMiddleware: API keys, or API Gateway's authorizer
    keys.py             API keys: creating one, and its SHA-256
    limits.py           request size, response size and time
    compression.py      gzip, of request bodies and of large responses
    cors.py             CORSMiddleware: cross-origin requests
    loopback.py         LoopbackMiddleware: refuses requests of foreign web pages to the local server
    middleware.py       RequestLogMiddleware, HeadMiddleware and ServerErrorMiddleware, the outermost
    error_responses.py  errors -> HTTP responses

To add an endpoint, add a route to routes.py, its response schema to contract/objects.py, and both to the table SUCCESS
in openapi.py.
"""
