"""Private PostgreSQL, Redis and S3 servers for tests, benchmarks and rehearsals of faults.

Real ones, on free loopback ports, with their data in a temporary directory. They need neither Django nor
pytest:

    with PostgresServer() as postgres, RedisServer() as redis:
        ...  # postgres.url, redis.url

Each can be stopped, killed, frozen and started again at the same address. None outlives the process that
started it, however that ends.
"""

from tests.services.postgresql import PostgresServer
from tests.services.redis import RedisServer
from tests.services.s3 import S3Server

__all__ = ["PostgresServer", "RedisServer", "S3Server"]
