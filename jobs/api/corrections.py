"""What a correction may say, and what a version of a transcript is shown as."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from jobs.api.bodies import BodySerializer
from jobs.models import Transcript
from jobs.transcripts.corrections import Edit


class EditSerializer(BodySerializer):
    words = serializers.ListField(
        child=serializers.IntegerField(min_value=0),
        help_text="Places in the transcript's `words`, from 0: some that follow one another in a channel.",
    )
    text = serializers.CharField(
        allow_blank=True, required=False, allow_null=True, help_text="What they are to read; empty: nothing."
    )
    speaker = serializers.IntegerField(
        min_value=0, max_value=1000, required=False, allow_null=True, help_text="Who said them."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("text") is None and attrs.get("speaker") is None:
            raise serializers.ValidationError("Give a text, a speaker or both.")
        return attrs


class ParagraphSerializer(BodySerializer):
    word = serializers.IntegerField(min_value=0, help_text="Its place in the transcript's `words`.")
    begins = serializers.BooleanField(help_text="False: it goes on in the paragraph of the word before.")


class SpeakerSerializer(BodySerializer):
    channel = serializers.IntegerField(
        min_value=0, max_value=1000, allow_null=True, default=None, help_text="Null if there is only one."
    )
    speaker = serializers.IntegerField(
        min_value=0,
        max_value=1000,
        allow_null=True,
        default=None,
        help_text="Null if they are not told apart.",
    )
    name = serializers.CharField(max_length=100)

    def validate_name(self, name: str) -> str:
        if not name.isprintable():
            raise serializers.ValidationError("This must be one line without control characters.")
        return name


class CorrectionSerializer(BodySerializer):
    """What is right, and what it should read; or another version to go back to. What is not given stays."""

    based_on = serializers.IntegerField(
        min_value=1,
        max_value=1_000_000,
        help_text="The version that you have seen, which must be the latest.",
    )
    edits = EditSerializer(many=True, required=False)
    confirmed = serializers.ListField(
        child=serializers.IntegerField(min_value=0),
        required=False,
        help_text="Places of words that are right as they are: their `confidence` becomes null.",
    )
    paragraphs = serializers.ListField(
        child=ParagraphSerializer(),
        required=False,
        help_text="Words that begin a paragraph, or go on in one, whatever pause is before them.",
    )
    text = serializers.CharField(
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="All of it, where one channel was transcribed.",
    )
    # Not many=True, which would allow each of them to be null as well.
    speakers = serializers.ListField(
        child=SpeakerSerializer(),
        required=False,
        allow_null=True,
        help_text="What the voices are called, in place of the names there were.",
    )
    restore = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=1_000_000, help_text="A version, alone."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = {name for name, value in attrs.items() if value not in (None, [], {})} - {"based_on"}
        if attrs.get("speakers") == []:
            given.add("speakers")
        if not given:
            raise serializers.ValidationError("Give what to correct, speakers or a version to restore.")
        beside: dict[str, set[str]] = {"text": {"speakers"}, "restore": set()}
        if any(name in given and given - {name} - allowed for name, allowed in beside.items()):
            raise serializers.ValidationError(
                "Give a text, or edits, confirmed and paragraphs, with speakers or not; or restore, alone."
            )
        return attrs

    def validate_edits(self, edits: list[dict[str, Any]]) -> list[Edit]:
        return [Edit(edit["words"], edit.get("text"), edit.get("speaker")) for edit in edits]

    def validate_paragraphs(self, paragraphs: list[dict[str, Any]]) -> dict[int, bool]:
        return {paragraph["word"]: paragraph["begins"] for paragraph in paragraphs}

    def validate_speakers(self, speakers: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        named = {(speaker["channel"], speaker["speaker"]) for speaker in speakers or ()}
        if len(named) < len(speakers or ()):
            raise serializers.ValidationError("Each voice has one name.")
        return speakers


class VersionSerializer(serializers.Serializer[Transcript]):
    version = serializers.IntegerField()
    run = serializers.IntegerField(help_text="The run of the job that it is of.")
    author = serializers.CharField(allow_null=True, help_text="Who corrected it; null: the provider.")
    language = serializers.CharField(allow_null=True)
    confidence = serializers.FloatField(allow_null=True, help_text="The provider's, of what it heard.")
    speakers = SpeakerSerializer(many=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, transcript: Transcript) -> dict[str, Any]:
        return {
            "version": transcript.version,
            "run": transcript.run,
            "author": transcript.author or None,
            "language": transcript.language or None,
            "confidence": transcript.confidence,
            "speakers": transcript.speakers,
            "created_at": transcript.created_at,
        }
