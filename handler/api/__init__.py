"""HTTP: the FastAPI app and everything that knows about requests, headers and status codes.

    app.py              create_app(settings, catalog): routes, middleware and error handlers, declared in one place
    openapi.py          the OpenAPI document, built from the routes and schemas when first requested
    auth.py             AuthenticationMiddleware: API keys, or API Gateway's authorizer
    limits.py           how large a request may be
    cors.py             cross-origin requests
    routes.py           POST /v1/embeddings, GET /v1/models, GET /v1/models/{id}, GET /health

To add an endpoint, add a route to routes.py and its response schema to the table in openapi.py.
"""
