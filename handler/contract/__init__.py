"""OpenAI's embeddings contract, without HTTP.

schemas.py        request and response schemas, and the limits on a request's fields
batches.py        Files, Uploads and Batches: requests, and the limits on their fields
batch_objects.py  Files, Uploads and Batches: the objects in responses
validation.py     pydantic's errors in OpenAI's words
body.py           a body's lists and objects, counted before it is parsed, and its encoding if that fails
responses.py      vectors -> response body, as JSON floats or as base64 of little-endian float32
"""
