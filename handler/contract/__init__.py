"""OpenAI's embeddings contract, without HTTP.

objects.py        the objects in responses, such as descriptions of models
schemas.py        requests, and the limits on their fields
batches.py        Files, Uploads and Batches: requests, and the limits on their fields
batch_objects.py  Files, Uploads and Batches: the objects in responses
validation.py     pydantic's errors in OpenAI's words
body.py           parses a body, whose lists and objects are counted before, and names its encoding if that fails
responses.py      vectors -> response body, as JSON numbers or as base64 of their little-endian bytes
"""
