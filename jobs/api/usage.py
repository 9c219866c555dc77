"""What the API shows of usage."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from jobs.api.batches import CostSerializer, cost_as_json
from jobs.usage import MODES


class UsageSumsSerializer(serializers.Serializer[Any]):
    requests = serializers.IntegerField(help_text="Runs of jobs, and live sessions, that ended.")
    failed = serializers.IntegerField(help_text="Of these, what came to nothing.")
    seconds = serializers.FloatField(help_text="Audio that was transcribed.")
    cost = CostSerializer(allow_null=True, help_text="Estimated by the prices of then; null: there was none.")

    def to_representation(self, sums: Any) -> dict[str, Any]:
        return {
            **{str(name): sums[str(name)] for name in self.fields},
            "cost": cost_as_json(sums["cost"]),
        }


class UsageGroupSerializer(UsageSumsSerializer):
    """What was not grouped by is null."""

    day = serializers.DateField(allow_null=True)
    month = serializers.DateField(allow_null=True, help_text="Its first day.")
    project = serializers.UUIDField(allow_null=True)
    project_name = serializers.CharField(allow_null=True, help_text="Null once it is erased.")
    user = serializers.CharField(allow_null=True, help_text="A username; null: submitted with a key.")
    key = serializers.UUIDField(allow_null=True, help_text="Null: submitted in person.")
    key_name = serializers.CharField(allow_null=True)
    tag = serializers.CharField(allow_null=True)
    model = serializers.CharField(allow_null=True, help_text="Null: the provider's default.")
    mode = serializers.ChoiceField(MODES, allow_null=True)


class UsageSerializer(serializers.Serializer[Any]):
    since = serializers.DateField(help_text="First day, UTC.")
    until = serializers.DateField(help_text="Last day, UTC.")
    totals = UsageSumsSerializer()
    next = serializers.URLField(allow_null=True, help_text="Null: all are on one page.")
    previous = serializers.URLField(allow_null=True)
    results = UsageGroupSerializer(many=True)
