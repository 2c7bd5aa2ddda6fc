"""A self-hosted service that receives Hireflix webhooks and keeps a Google Sheet and Slack up to date."""

__version__ = "0.2.0"
