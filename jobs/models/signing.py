"""The secrets that sign webhooks (Standard Webhooks 1.0.0), and how they are replaced without a gap."""

from __future__ import annotations

import base64
import secrets
from contextlib import suppress
from datetime import timedelta

from django.db import models
from django.db.models import F
from django.utils import timezone

from routing.encryption import EncryptedTextField, SecretUnreadable

# How long the secret before still signs: the time in which receivers are given the new one.
OVERLAP = timedelta(hours=24)


def new_webhook_secret() -> str:
    """A secret in the form that Standard Webhooks 1.0.0 asks for: `whsec_` and base64 of 24 to 64 bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Signing(models.Model):
    """Whatever signs what it sends."""

    webhook_secret = EncryptedTextField(default=new_webhook_secret, editable=False)
    previous_webhook_secret = EncryptedTextField(default="", editable=False)
    previous_webhook_secret_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True

    def webhook_secrets(self) -> list[str]:
        """What signs now, the newest first. SecretUnreadable if that one is."""
        found = [self.webhook_secret]
        until = self.previous_webhook_secret_until
        if until is not None and until > timezone.now():
            # May have been why it was replaced.
            with suppress(SecretUnreadable):
                found.append(self.previous_webhook_secret)
        return found

    def rotate_webhook_secret(self, overlap: timedelta = OVERLAP) -> None:
        """Sign with a new secret from now on, and for `overlap` also with the one before."""
        secret, until = new_webhook_secret(), timezone.now() + overlap
        type(self)._base_manager.filter(pk=self.pk).update(
            # In the database, where it need not be opened.
            previous_webhook_secret=F("webhook_secret"),
            previous_webhook_secret_until=until,
            webhook_secret=secret,
        )
        self.webhook_secret, self.previous_webhook_secret_until = secret, until
        # Read when it is asked for.
        vars(self).pop("previous_webhook_secret", None)
