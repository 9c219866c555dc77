"""Live audio: sessions between a client's WebSocket and the provider's.

Laid out, not built: rules (pure), relay, consumer, resume, latency and the browser client come here. It
imports jobs and routing; nothing imports it but transcribe_project.
"""
