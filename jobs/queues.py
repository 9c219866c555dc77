"""The queues that are no region's."""

# Webhook deliveries.
WEBHOOK_QUEUE = "webhooks"
# Where jobs go that brought their worker down twice: one at a time, each in a process of its own.
ISOLATION_QUEUE = "isolation"
