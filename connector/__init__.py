"""A self-hosted service that keeps a sheet right and a chat calm from Hireflix webhooks."""

__version__ = "0.2.0"
