"""Deepgram's error answers: status, code and wording as Deepgram documents them or was seen to send them.

Two shapes are in use, `{err_code, err_msg, request_id}` and the newer `{category, message, details,
request_id}`; 503 says `error_code` where the others say `err_code`.
"""


class DeepgramError(Exception):
    """An answer other than 2xx. `body` lacks only the request's id."""

    def __init__(self, status: int, code: str, message: str, *, shape: str = "legacy") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        match shape:
            case "modern":
                self.body = {"category": code, "message": message, "details": message}
            case "unavailable":
                self.body = {"error_code": code, "err_msg": message}
            case _:
                self.body = {"err_code": code, "err_msg": message}


def corrupt_audio() -> DeepgramError:
    message = "Bad Request: failed to process audio: corrupt or unsupported data"
    return DeepgramError(400, "Bad Request", message)


def no_such_model() -> DeepgramError:
    return DeepgramError(400, "Bad Request", "No such model/language/tier combination found.")


def bad_query(detail: str) -> DeepgramError:
    message = f"Failed to deserialize query parameters: {detail}"
    return DeepgramError(400, "INVALID_QUERY_PARAMETER", message)


def bad_callback() -> DeepgramError:
    return DeepgramError(400, "INVALID_QUERY_PARAMETER", "Invalid callback url.")


def bad_json() -> DeepgramError:
    message = "Content-type was application/json, but we could not process the JSON payload."
    return DeepgramError(400, "INVALID_JSON", message, shape="modern")


def remote_content(detail: str) -> DeepgramError:
    return DeepgramError(400, "REMOTE_CONTENT_ERROR", detail)


def invalid_credentials() -> DeepgramError:
    return DeepgramError(401, "INVALID_AUTH", "Invalid credentials.")


def insufficient_permissions() -> DeepgramError:
    message = "User does not have sufficient permissions."
    return DeepgramError(403, "INSUFFICIENT_PERMISSIONS", message)


def not_found() -> DeepgramError:
    return DeepgramError(404, "NOT_FOUND", "The requested resource could not be found.", shape="modern")


def method_not_allowed() -> DeepgramError:
    return DeepgramError(405, "METHOD_NOT_ALLOWED", "Method not allowed.", shape="modern")


def slow_upload() -> DeepgramError:
    return DeepgramError(408, "SLOW_UPLOAD", "Request upload timeout.")


def too_large() -> DeepgramError:
    return DeepgramError(413, "PAYLOAD_TOO_LARGE", "Payload too large.")


def too_many_requests() -> DeepgramError:
    return DeepgramError(429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later")


def unavailable() -> DeepgramError:
    return DeepgramError(503, "Service Unavailable", "Please try again later", shape="unavailable")


BY_STATUS = {
    error.status: error
    for error in (
        corrupt_audio(),
        invalid_credentials(),
        DeepgramError(
            402,
            "ASR_PAYMENT_REQUIRED",
            "Project does not have enough credits for an ASR request and does not have an overage agreement.",
        ),
        insufficient_permissions(),
        not_found(),
        slow_upload(),
        too_large(),
        DeepgramError(415, "UNSUPPORTED_MEDIA_TYPE", "Unsupported media type."),
        too_many_requests(),
        DeepgramError(500, "INTERNAL_SERVER_ERROR", "Internal server error."),
        DeepgramError(502, "BAD_GATEWAY", "Bad gateway."),
        unavailable(),
        DeepgramError(504, "GATEWAY_TIMEOUT", "Gateway timeout."),
    )
}
"""The wording of a status asked for as a fault; one that is not here gets an empty object."""
