"""Settings, read from the environment; docs/settings.md describes each (a test holds it to that).

With nothing set the project is *embedded*: SQLite, an in-process broker and the sandbox in Deepgram's place,
all below DATA_DIR. DATABASE_URL, REDIS_URL and DEEPGRAM_API_KEY make the same code production.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy

from transcribe_project.environment import Environment
from transcribe_project.secrets_file import kept_secret
from transcribe_project.storage_url import storage_at

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()

# Transcripts are nobody else's on this machine.
DATA_DIR = env.directory("DATA_DIR", default=BASE_DIR / "var")
SECRET_KEY = env.str("SECRET_KEY", default="")
SECRET_KEY_IS_GENERATED = not SECRET_KEY
SECRET_KEY = SECRET_KEY or kept_secret(DATA_DIR / "secret_key")
ENCRYPTION_KEYS = env.fernet_keys("ENCRYPTION_KEYS")
DEBUG = env.bool("DEBUG", default=False)
PORT = env.int("PORT", default=8000)
PUBLIC_URL = env.address("PUBLIC_URL", default=f"http://127.0.0.1:{PORT}")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[PUBLIC_URL])
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=["127.0.0.1", "::1"])

# Embedded or production
DATABASE_URL = env.str("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'db.sqlite3'}")
REDIS_URL = env.redis_at("REDIS_URL")
REDIS_CLUSTER_URL = env.redis_nodes("REDIS_CLUSTER_URL")
EMBEDDED = not REDIS_URL

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "routing",
    "jobs",
    "streaming",
    "transcribe_project",
]
MIDDLEWARE = [
    "transcribe_project.headers.PolicyMiddleware",
    "transcribe_project.operations.OperationsMiddleware",
    "transcribe_project.requests.RequestMiddleware",
    "transcribe_project.metrics.requests.BeforeMiddleware",
    "jobs.api.origins.OriginMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "transcribe_project.large_bodies.LargeBodyMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "transcribe_project.metrics.requests.AfterMiddleware",
]
ROOT_URLCONF = "transcribe_project.urls"
ASGI_APPLICATION = "transcribe_project.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": env.database_at(DATABASE_URL)}
_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    # A pool, since a connection is given back before every provider call and taken again after it.
    _database["OPTIONS"] = {
        # A server that is gone is noticed by these and not by TCP's own patience of many minutes.
        "connect_timeout": 5,
        "tcp_user_timeout": 15_000,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        # One that may not be written to, as after a failover, is as good as gone.
        "target_session_attrs": "read-write",
        "pool": {"min_size": 2, "max_size": env.int("DATABASE_POOL_SIZE", default=32), "timeout": 10},
        **_database.get("OPTIONS", {}),
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# What may be forgotten: failed attempts to sign in, and answers that took long.
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    if EMBEDDED
    else {
        "BACKEND": "transcribe_project.cache.Cache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 2},
    }
}

CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    if EMBEDDED
    else {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
}

# Files
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
STORAGES = {
    # Recordings and providers' raw answers
    "default": storage_at(env.str("STORAGE_URL", default=""), DATA_DIR / "media"),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "tmp"
FILE_UPLOAD_TEMP_DIR.mkdir(exist_ok=True)
# Always into a file: what probes and stores an upload wants a path, and memory stays constant.
FILE_UPLOAD_HANDLERS = ["jobs.audio.received.ReceiveFiles"]
FILE_UPLOAD_PERMISSIONS = 0o640
# What uploads leave free on the disk, for the database beside them and for transcripts.
DISK_RESERVE_BYTES = env.int("DISK_RESERVE_BYTES", default=512 * 1024**2)
MAX_OPEN_UPLOADS = env.int("MAX_OPEN_UPLOADS", default=100)
MAX_UPLOAD_BYTES = env.int("MAX_UPLOAD_BYTES", default=2 * 1024**3)

# The provider
DEEPGRAM_API_KEY = env.str("DEEPGRAM_API_KEY", default="")
SANDBOX_PORT = env.int("SANDBOX_PORT", default=PORT + 1)
DEEPGRAM_BASE_URL = env.address(
    "DEEPGRAM_BASE_URL",
    default="https://api.deepgram.com" if DEEPGRAM_API_KEY else f"http://127.0.0.1:{SANDBOX_PORT}",
)
# Without a key of Deepgram's or an address of one's own, a sandbox on this machine stands in for it.
USES_SANDBOX = not DEEPGRAM_API_KEY and "DEEPGRAM_BASE_URL" not in env and not env.str("REGIONS", default="")
REGIONS = env.json_named("REGIONS")
# Deepgram's limits for pay-as-you-go projects. The sandbox has none.
PROVIDER_MAX_RECORDINGS = env.int("PROVIDER_MAX_RECORDINGS", default=0 if USES_SANDBOX else 50)
PROVIDER_MAX_LIVE = env.int("PROVIDER_MAX_LIVE", default=0 if USES_SANDBOX else 150)
PROVIDER_MAX_CALLS = env.int("PROVIDER_MAX_CALLS", default=0)
# The region that this process works for, if it is a worker of one.
REGION = env.str("REGION", default="")
PROVIDER_SLOW_SECONDS = env.float("PROVIDER_SLOW_SECONDS", default=10)
PROVIDER_DEADLINE_SECONDS = env.float("PROVIDER_DEADLINE_SECONDS", default=1260)

# Routing
SYNC_MAX_SECONDS = env.float("SYNC_MAX_SECONDS", default=60)
ASYNC_MIN_SECONDS = env.float("ASYNC_MIN_SECONDS", default=300)
SYNC_DEADLINE_SECONDS = env.float("SYNC_DEADLINE_SECONDS", default=55)
GATEWAY_WAIT_SECONDS = env.float("GATEWAY_WAIT_SECONDS", default=600)
SYNC_SLOTS = env.int("SYNC_SLOTS", default=16)
LOW_PRIORITY_SHARE = env.share("LOW_PRIORITY_SHARE", default=0.5)

# Jobs
WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY", default=10)
MAX_ATTEMPTS = env.int("MAX_ATTEMPTS", default=3)
LEASE_SECONDS = env.float("LEASE_SECONDS", default=60)
HEARTBEAT_SECONDS = env.float("HEARTBEAT_SECONDS", default=LEASE_SECONDS / 4)
POLL_SECONDS = env.float("POLL_SECONDS", default=1)
SWEEP_SECONDS = env.float("SWEEP_SECONDS", default=1 if EMBEDDED else 5)
RETRY_BASE_SECONDS = env.float("RETRY_BASE_SECONDS", default=2)
RETRY_MAX_SECONDS = env.float("RETRY_MAX_SECONDS", default=60)
JOB_DEADLINE_SECONDS = env.float("JOB_DEADLINE_SECONDS", default=24 * 3600)
SHUTDOWN_GRACE_SECONDS = env.float("SHUTDOWN_GRACE_SECONDS", default=25)

# Limits of API keys that have none of their own; 0: none
KEY_REQUESTS_PER_MINUTE = env.int("KEY_REQUESTS_PER_MINUTE", default=0)
KEY_OPEN_JOBS = env.int("KEY_OPEN_JOBS", default=0)

# Live audio: sessions of a process, and of a key, 0: no limit; and who may follow them in a process
LIVE_SESSIONS = env.int("LIVE_SESSIONS", default=1000)
KEY_LIVE_SESSIONS = env.int("KEY_LIVE_SESSIONS", default=0)
LIVE_VIEWERS = env.int("LIVE_VIEWERS", default=1000)

# Audio given by its URL
FETCH_ALLOW_PRIVATE = env.bool("FETCH_ALLOW_PRIVATE", default=EMBEDDED)
FETCH_DEADLINE_SECONDS = env.float("FETCH_DEADLINE_SECONDS", default=600)

# How many days projects keep things that do not say so themselves; unset: always
AUDIO_DAYS = env.days("AUDIO_DAYS")
TRANSCRIPT_DAYS = env.days("TRANSCRIPT_DAYS")

# Batches
BATCH_MAX_ITEMS = env.int("BATCH_MAX_ITEMS", default=10_000)
ARCHIVE_MAX_BYTES = env.int("ARCHIVE_MAX_BYTES", default=20 * 1024**3)
PRICES = env.prices("PRICES")
PRICE_CURRENCY = env.str("PRICE_CURRENCY", default="USD")

# Webhooks
WEBHOOK_ALLOW_PRIVATE = env.bool("WEBHOOK_ALLOW_PRIVATE", default=EMBEDDED)
WEBHOOK_CONCURRENCY = env.int("WEBHOOK_CONCURRENCY", default=10)
WEBHOOK_LOG_DAYS = env.int("WEBHOOK_LOG_DAYS", default=30)

# Traces: where to, and as what; all else of them OpenTelemetry reads from the environment itself
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="")
OTEL_SERVICE_NAME = env.str("OTEL_SERVICE_NAME", default="transcription")

# Health and metrics: where workers tell them, and who may read metrics from elsewhere
WORKER_PORT = env.int("WORKER_PORT", default=9810)
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# Mail: to operators, of webhook endpoints that were given up
vars().update(env.mail_at("EMAIL_URL"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="transcription@localhost")

# The API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "jobs.api.authentication.KeyAuthentication",
        "jobs.api.authentication.OwnPagesAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["jobs.api.permissions.HasProject"],
    "DEFAULT_RENDERER_CLASSES": ["jobs.api.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["jobs.api.parsers.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "jobs.api.renderers.AlwaysTheFirst",
    "DEFAULT_PAGINATION_CLASS": "jobs.api.pagination.NewestFirst",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "jobs.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Transcription service",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "ModeEnum": "jobs.models.Mode",
        "StatusEnum": "jobs.models.Status",
        "DeliveryStatusEnum": "jobs.models.DeliveryStatus",
        "RequestedModeEnum": "jobs.models.RequestedMode",
        "ProviderStateEnum": "jobs.api.serializers.PROVIDER_STATES",
    },
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
# Of who opened the sign-in page itself, which then names no page to go on to.
LOGIN_REDIRECT_URL = "admin:index"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
FORMAT_MODULE_PATH = ["transcribe_project.formats"]

# Behind TLS everything that can be is bound to it; PUBLIC_URL tells. Whether a request came over TLS, and
# from where, the server reads from the headers of TRUSTED_PROXIES; Django would believe anybody's.
_tls = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _tls
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if _tls else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _tls
# Django's would name settings that are not ours; transcribe.W008 says what is.
SILENCED_SYSTEM_CHECKS = [] if _tls else [f"security.W{number:03}" for number in (4, 8, 12, 16)]
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())

# Logs: for programs to read, or for whoever has started it in a terminal
LOG_FORMAT = env.one_of("LOG_FORMAT", ("json", "text"), default="text" if EMBEDDED else "json")
LOG_REQUESTS = env.bool("LOG_REQUESTS", default=not EMBEDDED)
DEFAULT_EXCEPTION_REPORTER_FILTER = "transcribe_project.redaction.ReportFilter"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": "transcribe_project.logs.JSONFormatter"},
        "text": {"()": "transcribe_project.logs.TextFormatter"},
    },
    "filters": {"without_traceback": {"()": "transcribe_project.redaction.WithoutTraceback"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": env.log_level("LOG_LEVEL")},
    "loggers": {
        # It logs whole URLs, which may be signed.
        "httpx": {"level": "WARNING"},
        "celery": {"level": "WARNING"},
        "transcribe_project.requests": {"level": "INFO" if LOG_REQUESTS else "WARNING"},
        "django.request": {"level": "ERROR"},
        # Whoever scans for servers sends one after the other.
        "django.security.DisallowedHost": {"filters": ["without_traceback"]},
        # Django's own handlers would write past the formatter, and mail requests to people.
        "django": {"handlers": []},
        "django.server": {"handlers": [], "propagate": True},
    },
}


def _is_of_jobs(request: HttpRequest) -> bool:
    page = (request.resolver_match and request.resolver_match.url_name) or ""
    return page.startswith("jobs_transcriptionjob_") and not page.endswith("_upload")


def _to(icon: str, title: str, page: str) -> dict[str, object]:
    return {"icon": icon, "title": title, "link": reverse_lazy(f"admin:{page}")}


def _for_who_has(permission: str) -> dict[str, Callable[[HttpRequest], bool]]:
    return {"permission": lambda request: request.user.has_perm(permission)}


UNFOLD: dict[str, object] = {
    "SITE_TITLE": "Transcription",
    "SITE_HEADER": "Transcription",
    "SITE_SUBHEADER": "All times are UTC",
    "SITE_SYMBOL": "graphic_eq",
    # The admin is the site.
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "transcribe_project.dashboard.add_dashboard",
    "LOGIN": {"form": "transcribe_project.sign_in.SignInForm"},
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("jobs/favicon.svg")},
    ],
    # They are in colours.css: unfold would write them into each page, which the Content-Security-Policy
    # forbids. Not an empty dict, which it would fill with its own.
    "COLORS": lambda request: {},
    "STYLES": [lambda request: static("jobs/colours.css"), lambda request: static("jobs/admin.css")],
    "SCRIPTS": [
        lambda request: static("jobs/htmx.js"),
        lambda request: static("jobs/named.js"),
        lambda request: static("jobs/asking.js"),
    ],
    "SIDEBAR": {
        "navigation": [
            {
                "items": [
                    _to("dashboard", "Dashboard", "index"),
                    _to("upload_file", "Upload recordings", "jobs_transcriptionjob_upload"),
                    {"icon": "subtitles", "title": "Transcribe live", "link": reverse_lazy("live")},
                ],
            },
            {
                "title": "Transcription",
                "separator": True,
                "items": [
                    # The page to upload has an entry of its own.
                    _to("lyrics", "Jobs", "jobs_transcriptionjob_changelist") | {"active": _is_of_jobs},
                    _to("stacks", "Batches", "jobs_batch_changelist"),
                    _to("cell_tower", "Live sessions", "streaming_livesession_changelist"),
                    _to("mic", "Recordings", "jobs_recording_changelist"),
                    _to("spellcheck", "Evaluations", "jobs_evaluationrun_changelist"),
                    _to("bar_chart", "Usage", "jobs_usageline_changelist"),
                    _to("webhook", "Webhook endpoints", "jobs_webhookendpoint_changelist"),
                    _to("outbox", "Webhook deliveries", "jobs_delivery_changelist"),
                    _to("public", "Regions", "routing_regionrow_changelist"),
                    _to("memory", "Workers", "jobs_workerprocess_changelist"),
                ],
            },
            {
                "title": "Access",
                "separator": True,
                "items": [
                    _to("folder_shared", "Projects", "jobs_project_changelist"),
                    _to("key", "API keys", "jobs_apikey_changelist"),
                    _to("delete_forever", "Erasures", "jobs_erasure_changelist"),
                    _to("history", "Audit log", "jobs_auditentry_changelist"),
                    _to("person", "Users", "auth_user_changelist") | _for_who_has("auth.view_user"),
                    _to("group", "Groups", "auth_group_changelist") | _for_who_has("auth.view_group"),
                ],
            },
        ],
    },
}
