"""The tables, one module for each thing that the service knows."""

from jobs.models.attempt import Attempt, AttemptOutcome
from jobs.models.audit import AuditEntry
from jobs.models.batch import ArchiveLost, Batch, BatchArchive, BatchMove, BatchSealed, RefusedItem
from jobs.models.chore import Chore
from jobs.models.delivery import Delivery, DeliveryAttempt, DeliveryStatus
from jobs.models.endpoint import DisabledReason, WebhookEndpoint
from jobs.models.erasure import Erasure, Subject
from jobs.models.evaluation import EvaluatedRecording, EvaluationRun
from jobs.models.event import Event, EventType
from jobs.models.idempotency import IdempotencyKey, KeyReused
from jobs.models.job import TranscriptionJob
from jobs.models.key import ApiKey, KeyNotUsable, Scope, TooManyRequests
from jobs.models.project import Membership, Project, Role
from jobs.models.recording import Recording, Waveform
from jobs.models.removal import Removal
from jobs.models.state import InvalidTransition, Mode, Priority, RequestedMode, Status
from jobs.models.transcript import Transcript
from jobs.models.upload import Upload
from jobs.models.usage import DailyUsage, UsageLine
from jobs.models.worker import WorkerProcess

__all__ = [
    "ApiKey",
    "ArchiveLost",
    "Attempt",
    "AttemptOutcome",
    "AuditEntry",
    "Batch",
    "BatchArchive",
    "BatchMove",
    "BatchSealed",
    "Chore",
    "DailyUsage",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryStatus",
    "DisabledReason",
    "Erasure",
    "EvaluatedRecording",
    "EvaluationRun",
    "Event",
    "EventType",
    "IdempotencyKey",
    "InvalidTransition",
    "KeyNotUsable",
    "KeyReused",
    "Membership",
    "Mode",
    "Priority",
    "Project",
    "Recording",
    "RefusedItem",
    "Removal",
    "RequestedMode",
    "Role",
    "Scope",
    "Status",
    "Subject",
    "TooManyRequests",
    "Transcript",
    "TranscriptionJob",
    "Upload",
    "UsageLine",
    "Waveform",
    "WebhookEndpoint",
    "WorkerProcess",
]
