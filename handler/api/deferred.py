"""Files, uploads and batches: their routes are imported by the first request to one of them, not by a cold start."""

from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from handler.errors import NotFoundError

if TYPE_CHECKING:
    from fastapi import APIRouter

    from handler.batches.runner import Runner
    from handler.storage.entries import Storage

PATHS = ("/v1/files", "/v1/uploads", "/v1/batches")


class DeferredRoutes:
    """ASGI application: the routes, with the storage and the runner that they use; 404 to all if there is no storage.

    uri     of what stores files and batches; empty for nothing
    runner  what runs the batches; None for nothing
    """

    router: "APIRouter"
    storage: "Storage"
    runner: "Runner"

    def __init__(self, uri: str, runner: "Runner | None") -> None:
        self._uri, self._runner, self._loaded = uri, runner, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the route of a request."""
        self.load()
        await self.router({**scope, "stored": self}, receive, send)

    def load(self) -> None:
        """Import the routes, once, and open the storage.

        Raises:
            NotFoundError: there is no storage.
        """
        if not self._uri:
            raise NotFoundError(
                "Files and batches are not served here: deploy the stack with the parameter Bulk=true, or start the "
                "local server with DATA=FOLDER.",
                code="batches_not_served",
            )
        if self._loaded:
            return
        from fastapi import APIRouter

        from handler.api import batches, files, uploads
        from handler.batches.runner import NoRunner
        from handler.storage.uri import open_storage

        self.router = APIRouter(redirect_slashes=False)
        for each in (files, uploads, batches):
            self.router.include_router(each.router)
        self.storage, self.runner = open_storage(self._uri, online=True), self._runner or NoRunner()
        self._loaded = True
