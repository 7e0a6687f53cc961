"""Files, uploads and batches: their routes are imported by the first request to one of them, not by a cold start."""

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.types import Receive, Scope, Send

from handler.errors import NotFoundError

if TYPE_CHECKING:
    from handler.batches.runner import Runner
    from handler.storage.entries import Storage

PATHS = ("/v1/files", "/v1/uploads", "/v1/batches")


class DeferredRoutes:
    """ASGI application: the routes, with the storage and the runner that they use; 404 to all if there is no storage.

    uri     of what stores files and batches; empty for nothing
    runner  what runs the batches
    """

    def __init__(self, uri: str, runner: "Runner") -> None:
        self.runner = runner
        self._uri = uri
        self._loaded: tuple[APIRouter, Storage] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the route of a request."""
        router, _ = self._load()
        await router({**scope, "stored": self}, receive, send)

    @property
    def router(self) -> APIRouter:
        """The routes."""
        return self._load()[0]

    @property
    def storage(self) -> "Storage":
        """Where files and batches are stored."""
        return self._load()[1]

    def _load(self) -> "tuple[APIRouter, Storage]":
        if not self._uri:
            raise NotFoundError(
                "Files and batches are not served here: deploy the stack with the parameter Bulk=true, or start the "
                "local server with DATA=FOLDER.",
                code="batches_not_served",
            )
        if not self._loaded:
            from handler.api import batches, files, uploads
            from handler.storage.uri import open_storage

            router = APIRouter(redirect_slashes=False)
            for each in (files, uploads, batches):
                router.include_router(each.router)
            self._loaded = router, open_storage(self._uri, online=True)
        return self._loaded
