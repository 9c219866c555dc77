"""The queues that are no region's."""

# Webhook deliveries.
WEBHOOK_QUEUE = "webhooks"
# Where jobs go that brought their worker down twice: one at a time, each in a process of its own.
ISOLATION_QUEUE = "isolation"
# Archives to be opened, and what is to be done to whole batches.
BATCH_QUEUE = "batches"
