"""Calls of browsers from other origins: who may make them, and a refusal that a front-end developer can read."""

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from qrtrack.routers.problems import problem

SHOWN_ORIGIN: Final = 200


class Cors(CORSMiddleware):
    def preflight_response(self, request_headers: Headers) -> Response:
        """As Starlette answers, but a refusal is a problem document like all others."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        allowed = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        return problem(
            400, "cors-refused", "Call from another origin refused", self._why(request_headers), headers=allowed
        )

    def _why(self, asked: Headers) -> str:
        origin = asked["origin"]
        if not self.is_allowed_origin(origin):
            return f"The origin {origin[:SHOWN_ORIGIN]} may not call: add it to CORS_ALLOWED_ORIGINS on the server."
        return (
            f"From another origin the methods {', '.join(self.allow_methods)} may be called with the headers "
            f"{', '.join(self.allow_headers)}, and nothing else."
        )
