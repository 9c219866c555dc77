"""Carries out a fault: answers late, wrongly, in part or not at all."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus

from sandbox import errors, faults
from sandbox.faults import Fault
from sandbox.messages import Answer, Request, Send


async def misbehave(
    fault: Fault,
    request: Request,
    send: Send,
    *,
    read: Callable[[], Awaitable[None]],
    proper: Callable[[], Awaitable[Answer]],
) -> int | None:
    """Returns the status that was sent, None if none was.

    `read` takes in the request's body, `proper` also works out the answer that it would get without the
    fault. Raises ClientGone.
    """
    match fault.kind:
        case faults.STATUS if fault.at == "head":
            answer = refusal(fault, request)
            await answer.send(request, send)
            return answer.status
        case faults.STATUS | faults.NOT_JSON | faults.EMPTY:
            await read()
            answer = _replacement(fault, request)
            await answer.send(request, send)
            return answer.status
        case faults.HANG:
            await read()
            await request.disconnected()
        case faults.HALF_OPEN:
            await _read_bytes(request, fault.after)
            request.transport.pause_reading()
            # Nothing is read any more, so not even the client's farewell is noticed.
            await asyncio.sleep(faults.MAX_SECONDS)
            reset(request.transport)
        case faults.RESET if fault.at == "upload":
            await _read_bytes(request, fault.after)
            reset(request.transport)
            await request.disconnected()
        case faults.RESET if fault.at == "request":
            await read()
            reset(request.transport)
            await request.disconnected()
        case faults.RESET:
            answer = await proper()
            await _send_half(answer, request, send)
            reset(request.transport)
            await request.disconnected()
            return answer.status
        case faults.TRUNCATED:
            answer = await proper()
            await replace(answer, body=answer.body[: len(answer.body) // 2]).send(request, send)
            return answer.status
        case faults.DRIP if fault.at == "head":
            answer = await proper()
            await _drip_head(answer, request, fault.number)
            return answer.status
        case faults.DRIP:
            answer = await proper()
            await _drip_body(answer, request, send, fault.number)
            return answer.status
        case faults.LATENCY:
            answer = await proper()
            await asyncio.sleep(fault.number)
            await answer.send(request, send)
            return answer.status
        case _:  # The faults of callbacks leave the answer itself alone.
            answer = await proper()
            await answer.send(request, send)
            return answer.status
    return None


def _replacement(fault: Fault, request: Request) -> Answer:
    match fault.kind:
        case faults.NOT_JSON:
            page = b"<html><body><h1>It works!</h1></body></html>"
            return Answer(200, page, content_type="text/html")
        case faults.EMPTY:
            return Answer(200, b"")
        case _:
            return refusal(fault, request)


def refusal(fault: Fault, request: Request) -> Answer:
    """The status of a fault, with Deepgram's wording unless the fault has its own."""
    known = errors.BY_STATUS.get(fault.status)
    answer = Answer.error(known, request.id) if known else Answer.of({}, fault.status)
    if fault.body is not None:
        kind = "application/json" if fault.body.startswith("{") else "text/plain"
        answer = replace(answer, body=fault.body.encode(), content_type=kind)
    if fault.retry_after is not None:
        answer = replace(answer, headers=answer.headers | {"retry-after": fault.retry_after})
    return answer


async def _read_bytes(request: Request, count: int) -> None:
    async for chunk in request.chunks():
        count -= len(chunk)
        if count <= 0:
            return


def reset(transport: asyncio.Transport) -> None:
    """Ends the connection with a TCP reset instead of a farewell: what a lingering time of zero does."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _send_half(answer: Answer, request: Request, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.head(request)})
    half = answer.body[: len(answer.body) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})


async def _drip_body(answer: Answer, request: Request, send: Send, pause: float) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.head(request)})
    for byte in answer.body:
        if await _hung_up_within(request, pause):
            return
        await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _drip_head(answer: Answer, request: Request, pause: float) -> None:
    """Written to the socket by hand, as a server only sends whole heads."""
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}".encode(), b"connection: close"]
    lines += [name + b": " + value for name, value in answer.head(request)]
    for byte in b"\r\n".join(lines) + b"\r\n\r\n":
        if await _hung_up_within(request, pause):
            return
        request.transport.write(bytes([byte]))
    request.transport.write(answer.body)
    request.transport.close()
    await request.disconnected()


async def _hung_up_within(request: Request, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await request.disconnected()
    except TimeoutError:
        return False
    return True
