"""Addresses in forms."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from jobs.admin.look import Url
from routing.addresses import ForbiddenURL, check_url


class CallableURLField(forms.URLField):
    """A URL that may be called, as far as its text tells.

    `private` names the setting that allows private addresses; `http`: it need not be https.
    """

    widget = Url

    def __init__(self, *, private: str, http: bool = False, **kwargs: Any) -> None:
        super().__init__(max_length=2000, assume_scheme="https", **kwargs)
        self.private = private
        self.http = http

    def clean(self, value: Any) -> str:
        url: str = super().clean(value)
        private = getattr(settings, self.private)
        try:
            if url:
                check_url(url, allow_private=private, allow_http=private or self.http)
        except ForbiddenURL as error:
            raise forms.ValidationError(error.message) from None
        return url
