"""Whom to notify about a job or batch."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from qrtrack.domain.field_codes import FieldCode
from qrtrack.domain.notifications import ADDRESS_LENGTH, URL_LENGTH, Notify
from qrtrack.schemas.base import EMAIL_ADDRESS, HOOK_ADDRESS, Part

EmailAddress = Annotated[str, StringConstraints(max_length=ADDRESS_LENGTH, pattern=EMAIL_ADDRESS)]
HookAddress = Annotated[str, StringConstraints(max_length=URL_LENGTH, pattern=HOOK_ADDRESS)]


class NotifyRequest(Part):
    """Whom to notify when the job has ended, or when the batch is ready or has failed. The addresses of a batch also
    get the alerts and consumers' reports about its units.
    """

    email: EmailAddress | None = Field(None, examples=["shift@plant.example"])
    url: HookAddress | None = Field(
        None,
        description="This address gets a POST, signed per Standard Webhooks. The server must allow its host.",
        examples=["https://sms.plant.example/send"],
    )

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.email is None and self.url is None:
            raise PydanticCustomError(
                FieldCode.AT_LEAST_ONE_OF, "Name an email or a url, or leave notify out", {"fields": ["email", "url"]}
            )
        return self

    def recipients(self) -> Notify:
        return Notify(self.email, self.url)
