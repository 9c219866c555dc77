"""Deepgram's options as a form: the common ones as fields, all others as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from jobs.admin.look import (
    Checkboxes,
    Choices,
    Lines,
    Switch,
)
from jobs.transcripts.options import DEFAULTS, InvalidOptions, validate

DETECT = "detect"
LANGUAGES = [
    ("", "English (the provider's default)"),
    (DETECT, "Detect it"),
    ("multi", "Several at once (multilingual)"),
    ("en-GB", "English, British"),
    ("en-US", "English, American"),
    ("da", "Danish"),
    ("de", "German"),
    ("es", "Spanish"),
    ("fr", "French"),
    ("hi", "Hindi"),
    ("it", "Italian"),
    ("ja", "Japanese"),
    ("ko", "Korean"),
    ("nl", "Dutch"),
    ("no", "Norwegian"),
    ("pl", "Polish"),
    ("pt", "Portuguese"),
    ("ru", "Russian"),
    ("sv", "Swedish"),
    ("tr", "Turkish"),
    ("uk", "Ukrainian"),
]
MODELS = [
    ("nova-3", "Nova-3 (best)"),
    ("nova-3-medical", "Nova-3 medical"),
    ("nova-2", "Nova-2"),
    ("nova-2-phonecall", "Nova-2 phone calls"),
    ("nova-2-meeting", "Nova-2 meetings"),
    ("enhanced", "Enhanced"),
    ("base", "Base"),
    ("whisper-large", "Whisper large"),
]
REDACTIONS = [
    ("pci", "Card numbers (PCI)"),
    ("pii", "Personal data (PII)"),
    ("numbers", "Numbers"),
    ("ssn", "US social security numbers"),
]
SWITCHES = ("smart_format", "diarize", "utterances", "multichannel")


class LinesField(forms.CharField):
    """A list of texts, one on each line."""

    def __init__(self, *, rows: int = 3, **kwargs: Any) -> None:
        super().__init__(widget=Lines(attrs={"rows": rows}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        return [line.strip() for line in super().clean(value).splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.clean(self.prepare_value(initial) or "") != self.clean(data or "")


class ObjectField(forms.JSONField):
    """A JSON object; nothing is an empty one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(widget=Lines(attrs={"rows": 3, "placeholder": '{"numerals": true}'}), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return super().prepare_value(value) if value else ""

    def clean(self, value: Any) -> dict[str, Any]:
        found = super().clean(value) or {}
        if not isinstance(found, dict):
            raise forms.ValidationError('This must be a JSON object, such as {"numerals": true}.')
        return found


class OptionsForm(forms.Form):
    """What it is given as `initial` comes from `fields_of`; `options` holds what is to be sent, validated."""

    language = forms.ChoiceField(choices=LANGUAGES, required=False, widget=Choices)
    model = forms.ChoiceField(
        choices=[*MODELS, ("", "The provider's default")],
        required=False,
        initial=DEFAULTS["model"],
        widget=Choices,
    )
    smart_format = forms.BooleanField(
        required=False,
        initial=True,
        widget=Switch,
        help_text="Punctuation, paragraphs, dates and numbers as one would write them.",
    )
    diarize = forms.BooleanField(
        required=False,
        label="Tell speakers apart",
        widget=Switch,
        help_text="Words carry the number of who said them.",
    )
    utterances = forms.BooleanField(
        required=False,
        widget=Switch,
        help_text="Split at pauses into sentences with times.",
    )
    multichannel = forms.BooleanField(
        required=False,
        label="Channels apart",
        widget=Switch,
        help_text="Each channel by itself, as for a call with one person on each side.",
    )
    redact = forms.MultipleChoiceField(
        choices=REDACTIONS,
        required=False,
        widget=Checkboxes,
        help_text="Blacked out before the transcript is stored.",
    )
    keyterm = LinesField(
        required=False, label="Key terms", help_text="Names and jargon, one a line (Nova-3 only)."
    )
    other_options = ObjectField(
        required=False,
        help_text="Any other option of Deepgram's, as a JSON object. They win over the fields above.",
    )

    options: dict[str, Any]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                self.options = validate(self._asked_for(cleaned), defaults={})
            except InvalidOptions as invalid:
                for name, message in invalid.errors.items():
                    self._blame(name, message)
        return cleaned

    def _asked_for(self, cleaned: Mapping[str, Any]) -> dict[str, Any]:
        asked: dict[str, Any] = {
            name: cleaned[name] for name in ("model", "redact", "keyterm") if cleaned[name]
        }
        if cleaned["language"] == DETECT:
            asked["detect_language"] = True
        elif cleaned["language"]:
            asked["language"] = cleaned["language"]
        asked |= {name: True for name in SWITCHES if cleaned[name]}
        # Last, so that a model or language which no field offers can be given there.
        asked |= cleaned["other_options"]
        return asked

    def _blame(self, name: str, message: str) -> None:
        field = "language" if name == "detect_language" else name
        if field in self.fields:
            self.add_error(field, f"{message[:1].upper()}{message[1:]}.")
        else:
            self.add_error("other_options", f"{name} {message}.")


def fields_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The form's initial values for stored options: what no field can show stays among the others."""
    rest = dict(options)
    fields: dict[str, Any] = {name: rest.pop(name, False) is True for name in SWITCHES}
    fields["keyterm"] = rest.pop("keyterm", [])
    if rest.get("detect_language") is True:
        fields["language"] = DETECT
        del rest["detect_language"]
    elif rest.get("language") in dict(LANGUAGES):
        fields["language"] = rest.pop("language")
    if set(rest.get("redact", [])) <= set(dict(REDACTIONS)):
        fields["redact"] = rest.pop("redact", [])
    fields["model"] = rest.pop("model") if rest.get("model") in dict(MODELS) else ""
    fields["other_options"] = rest
    return fields
